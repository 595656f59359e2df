"""Chat template of a model: messages to the token ids that its engine reads, whatever the family's manners.

A template may refuse a system prompt, or drop it in silence (Gemma 2, Mistral), demand roles that alternate, or open a
thinking block at its end. A base model has none: its prompt is lines of text that end in `Answer:`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from wbrag.core import defuse
from wbrag.core.errors import UsageError
from wbrag.core.types import Message, Messages, Prompt
from wbrag.generators.openai_dialect import folded
from wbrag.generators.reasoning import TAGS

log = logging.getLogger(__name__)
_PART = re.compile(r"<\|[^|<>]*\|?>|\[[^\[\]]*\]|<[^<>]*>")  # tokens that a tag is made of
TRIAL = ({"role": "system", "content": "wbragsystem"}, {"role": "user", "content": "wbraguser"})


class ChatTemplate:
    """`tokenizer`'s own, with `arguments` for it. `fold`: system prompts go before the user's text in any case."""

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any], fold: bool = False) -> None:
        self.tokenizer, self.arguments, self.fold = tokenizer, dict(arguments), fold

    @property
    def base(self) -> bool:
        """A base model, which only goes on writing."""
        return self.tokenizer.chat_template is None

    @cached_property
    def folds(self) -> bool:
        """Whether the system prompt must stand in the user's turn; found out by trying."""
        if self.fold:
            return True
        try:
            kept = "wbragsystem" in self._render(TRIAL)
        except Exception as refused:  # what a template raises is its author's choice
            try:
                self._render(folded(TRIAL))
            except Exception as error:
                raise UsageError(
                    f"expected a chat template that takes a user's message, found one that says {str(error)[:200]!r}: "
                    "check generator.chat_template_kwargs, or use a model with another template"
                ) from None
            log.warning("the chat template takes no system prompt (%s): it goes before the user's text", refused)
            return True
        if not kept:
            log.warning("the chat template drops the system prompt: it goes before the user's text")
        return not kept

    @cached_property
    def cleared(self) -> tuple[str, ...]:
        """The model's special tokens that a reply is cleared of, where some tags of thinking are special tokens too.

        Empty for most models: an engine then leaves special tokens out by itself, and tags are ordinary text.
        """
        special = {str(token) for token in self.tokenizer.all_special_tokens}
        special |= {str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        tags = {part for pair in TAGS for tag in pair for part in _PART.findall(tag)}
        return tuple(sorted(special - tags, key=len, reverse=True)) if special & tags else ()

    def plain(self, text: str) -> str:
        """A reply without special tokens but those that thinking is told by."""
        for token in self.cleared:
            text = text.replace(token, "")
        return text

    def ids(self, prompt: Prompt) -> list[int]:
        """The prompt's tokens. A last message of the assistant is left open, to be continued."""
        if isinstance(prompt, str):
            return list(self.tokenizer.encode(self.apart(prompt)))
        written = self.apart(prompt[-1].content) if prompt[-1].role == "assistant" else ""
        asked = prompt[:-1] if written else prompt
        if self.base:
            text = "\n".join(self.apart(m.content) for m in asked) + "\nAnswer:" + (f" {written}" if written else "")
            return list(self.tokenizer.encode(text))
        turns = [turn | {"content": self.apart(turn["content"])} for turn in _as_dicts(asked)]
        more = {"add_generation_prompt": True, "return_dict": False, **self.arguments}
        ids = self.tokenizer.apply_chat_template(folded(turns) if self.folds else turns, **more)
        return [*ids, *(self.tokenizer.encode(written, add_special_tokens=False) if written else [])]

    @cached_property
    def _marks(self) -> tuple[re.Pattern[str], frozenset[str], tuple[int, ...]]:
        """What the tokenizer's added tokens begin with, the tokens, and their lengths, the longest first."""
        added = {str(token) for token in self.tokenizer.all_special_tokens}
        for token in self.tokenizer.added_tokens_decoder.values():  # some have HTML's tags too, which are text
            if token.special or defuse.apart(str(token)) != str(token):
                added.add(str(token))
        found = frozenset(token for token in added if len(token) > 1 and not token[0].isalnum() and not token.isspace())
        first = "".join(sorted({re.escape(token[0]) for token in found}))
        return re.compile(f"[{first}]" if first else r"(?!)"), found, tuple(sorted({*map(len, found)}, reverse=True))

    def apart(self, text: str) -> str:
        """`text` with a space inside each of this tokenizer's own added tokens, so that it is read as text."""
        first, tokens, lengths = self._marks
        pieces, done = [], 0
        for match in first.finditer(text):
            at = match.start()
            if at >= done and any(text[at : at + length] in tokens for length in lengths):
                pieces.append(text[done : at + 1])
                done = at + 1
        return " ".join([*pieces, text[done:]]) if pieces else text

    def opened(self, ids: Sequence[int]) -> bool:
        """Whether these ids end inside a thinking block, so that the reply begins with thoughts."""
        return bool(self.closing(ids))

    def closing(self, ids: Sequence[int]) -> str:
        """What ends the thinking block that these ids end inside; empty where there is none."""
        tail = str(self.tokenizer.decode(list(ids[-16:]))).rstrip()
        return next((end for start, end in TAGS if tail.endswith(start)), "")

    def _render(self, turns: Sequence[Mapping[str, Any]]) -> str:
        more = {"add_generation_prompt": True, "tokenize": False, **self.arguments}
        return str(self.tokenizer.apply_chat_template(list(turns), **more))


def _as_dicts(prompt: Messages) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in prompt if isinstance(m, Message)]
