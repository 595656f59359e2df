"""Reasoning: what a thinking model wrote before its answer is told from the answer (`generator.reasoning`).

Engines and endpoints without a reasoning parser leave it in the text, between the tags of the model's family. A chat
template may have opened the block itself, so that only its end stands in the reply; a token limit may have cut the
reply inside it, and then there is no answer at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from wbrag.core.types import Completion

Reasoning = Literal["auto", "tags", "opened", "field", "none"]
TAGS = (  # how families open and close a block
    ("<think>", "</think>"),  # Qwen, DeepSeek, GLM, SmolLM3
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Mistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma
)


def split(text: str, opened: bool = False) -> tuple[str, str, bool]:
    """(thinking, answer, whether the thinking came to its end); `opened`: the prompt ended inside a block."""
    thinking: list[str] = []
    while True:
        rest = text.lstrip()
        if opened:
            ends = [(at, end) for _, end in TAGS if (at := rest.find(end)) >= 0]
        elif pair := next((pair for pair in TAGS if rest.startswith(pair[0])), None):
            rest, opened = rest[len(pair[0]) :], True
            ends = [(at, pair[1])] if (at := rest.find(pair[1])) >= 0 else []
        else:
            break
        if not ends:
            return "\n".join([*thinking, rest.strip()]), "", False
        at, end = min(ends)
        thinking.append(rest[:at].strip())
        text, opened = rest[at + len(end) :], False
    if not thinking:  # a template that opened the block leaves only its end in the reply
        for _, end in TAGS:
            before, found, after = text.partition(end)
            if found and (before.endswith("\n") or after[:1] in ("", "\n")):  # not one that is spoken of
                return before.strip(), after.lstrip(), True
    return "\n".join(thinking), text.lstrip() if thinking else text, True


def answered(completion: Completion, reasoning: Reasoning, opened: bool = False) -> Completion:
    """The completion without its thinking, which `thinking` keeps; token by token figures go with their text."""
    if reasoning in ("none", "field"):
        return completion
    thinking, answer, _ = split(completion.text, opened or reasoning == "opened")
    if not thinking and answer == completion.text:
        return completion
    dropped = _pieces_before(completion, len(completion.text) - len(answer))
    return replace(
        completion,
        text=answer,
        thinking="\n".join(part for part in (completion.thinking, thinking) if part) or "…",
        logprobs=completion.logprobs[dropped:],
        top_logprobs=completion.top_logprobs[dropped:],
        pieces=completion.pieces[dropped:],
    )


def _pieces_before(completion: Completion, characters: int) -> int:
    """How many tokens lie wholly before that character."""
    seen = 0
    for number, piece in enumerate(completion.pieces):
        seen += len(piece)
        if seen > characters:
            return number
    return len(completion.pieces)


def begins_inside(text: str) -> bool:
    """Whether a whole reply shows that its template opened the block: it holds the end of one, and no beginning."""
    return bool(split(text)[0]) and not any(text.lstrip().startswith(start) for start, _ in TAGS)


class AnswerFilter:
    """The answer's part of a reply that comes in pieces; what may still turn out to be a tag is held back.

    `opened`: the reply begins inside a block; where that is only `likely`, and no end comes, it was the answer.
    """

    def __init__(self, reasoning: Reasoning, opened: bool = False, likely: bool = False) -> None:
        self.through = reasoning in ("none", "field")
        self.likely = likely and not opened and reasoning != "opened"
        self.held, self.inside, self.thought = "", opened or likely or reasoning == "opened", False

    def add(self, text: str) -> str:
        """What of the answer is certain now."""
        if self.through:
            return text
        self.held += text
        if self.inside:
            thinking, answer, ended = split(self.held, opened=True)
            self.thought = self.thought or bool(thinking and not self.likely)
            if not ended:
                return ""
            self.inside, self.thought, self.held = False, True, answer
        start = self.held.lstrip()
        if pair := next((pair for pair in TAGS if start.startswith(pair[0])), None):
            self.inside, self.likely, self.held = True, False, start[len(pair[0]) :]
            return self.add("")
        if not start or any(opening.startswith(start) for opening, _ in TAGS):
            return ""
        self.through = True
        return start if self.thought else self.held

    def end(self, cut: bool = False) -> str:
        """What was held back at the reply's end, and is the answer after all; `cut`: at its limit."""
        if self.inside and self.likely and not cut:
            return self.held
        self.thought = self.thought or self.inside
        return "" if self.through or self.inside else self.held
