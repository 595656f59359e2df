"""Housekeeping of chat front ends: a title, tags or suggestions for a conversation, asked of the same model.

Open WebUI, LibreChat, NextChat and others send such a request after an answer. The library knows nothing of it: the
model answers alone, nothing is searched for, and no usage row is left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LOOKED_AT = 4000  # characters at either end: the conversation itself may be quoted between
# Open WebUI's templates: a heading, and the conversation or the form of the output.
_TASK = re.compile(r"\A\s*###\s*Task:", re.IGNORECASE)
_OF_A_CHAT = re.compile(
    r"<chat_history>|###\s*(?:Chat History|Output):|[\"'`](?:title|tags|follow_ups|queries|text)[\"'`]\s*(?::|key)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"(?:generate|provide|create|write|suggest|give|analy[sz]e|summari[sz]e)\b[^\n]{0,160}?"
    r"\b(?:(?:title|tags|topic|emoji)\b[^\n]{0,160}?\b(?:conversation|chat|discussion|dialogue)\b"
    r"|(?:conversation|chat|discussion|dialogue)\b[^\n]{0,200}?(?:\btitle\b|\bas a prompt for future context))",
    re.IGNORECASE,
)
_ONLY = re.compile(
    r"only return the title|without any lead-in|no punctuation|words? or less|title case|three to five words|"
    r"(?:[1-9]|two|three|four|five|six)[- ](?:to|or|-)?[- ]?(?:[1-9]|two|three|four|five|six)?[- ]?words?",
    re.IGNORECASE,
)
_OTHER_LANGUAGES = re.compile(
    r"使用四到五个字直接返回这句话的简要主题|使用四到五個字直接返回這句話的簡要主題|简要总结一下对话内容|簡要總結一下對話內容"
)


def is_housekeeping(texts: Sequence[str]) -> bool:
    """Whether the last of these messages of a user asks something about the conversation as a thing."""
    if not texts:
        return False
    text = texts[-1]
    ends = text if len(text) <= 2 * LOOKED_AT else f"{text[:LOOKED_AT]}\n{text[-LOOKED_AT:]}"
    if _TASK.match(ends):
        return _OF_A_CHAT.search(ends) is not None
    return bool(_OTHER_LANGUAGES.search(ends) or (_ASKS.search(ends[:600]) and _ONLY.search(ends)))
