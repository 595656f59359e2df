"""Control tokens in data, taken apart: no question, passage or answer speaks for a chat template.

What looks like a token of any family's template gets a space inside, `< |im_end|>`; ordinary text comes back as it is.
An engine of wbrag's own also takes its tokenizer's list (`wbrag.generators.chat_template`).
"""

from __future__ import annotations

import re

_NAMED = (
    r"s|bos|eos|pad|unk|sop|eop|end_of_utterance|tools?|think|tool_calls?|tool_responses?|function_calls?|"
    r"turn|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|im_start|im_end|begin_of_text|"
    r"end_of_text|file_sep|filename|repo_name|reponame|gh_stars|issue_start|issue_comment|issue_closed|jupyter_\w{1,32}|"
    r"empty_output|commit_\w{1,32}|fim_\w{1,32}|reserved_\w{1,32}|extra_id_\d{1,5}|unused\d{1,5}|seed:\w{1,32}|"
    r"minimax:\w{1,32}|longcat_\w{1,32}"
)
_SQUARE = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|THINK|IMG|IMG_BREAK|IMG_END|"
    r"AUDIO|BEGIN_AUDIO|TRANSCRIBE|PREFIX|MIDDLE|SUFFIX|gMASK|sMASK|MODEL_SETTINGS"
)
_CONTROL_TOKEN = re.compile(
    r"(?<=<)(?=[|｜][^|｜<>\n]{1,64}[|｜]?>)|(?<=<)(?=/?\w{1,64}[|｜]>)|(?<=\[)(?=\|[^|\[\]\n]{1,64}\|\])|(?<=<<)(?=/?SYS>>)"
    rf"|(?<=\[)(?=/?(?:{_SQUARE})\])|(?<=<)(?=/?(?:{_NAMED})>)"
    r"|(?<=\])(?=~[be]\])|(?<=\[)(?=e~\[)",  # MiniMax
    re.IGNORECASE,
)


def apart(text: str) -> str:
    """`text` with every control token in it taken apart."""
    return _CONTROL_TOKEN.sub(" ", text)
