"""Conversation: earlier turns and instructions around a question, and the question made to stand alone.

Retrieval knows nothing of a conversation, so a follow-up ("And when was it sold?") is first written as a question that
can be understood without it: one call, left out where a turn stands alone already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wbrag.core.defuse import apart
from wbrag.core.prompts import render
from wbrag.core.types import Generator, Message, Sampling
from wbrag.core.words import count

QUERY_TOKENS = 96
LONGEST_QUERY = 500  # characters; what is longer is no question
BYTES = 3  # of UTF-8 that a token has at least, on average, in most scripts
MANY_WORDS = 5
FEWEST_WORDS = 4  # of a question without its mark: less is an answer ("Ada Thorn.")
# English words that point to what was said before, and words by which a text is told to be English.
_REFERS = frozenset(
    "he him his she her hers it its they them their theirs this that these those such one ones same other others "
    "another former latter else also too then there here and but or so more instead again why".split()
)
_ENGLISH = frozenset("the of is was are were who what when where which how in did does do by for to a an".split())
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_NAME_OR_NUMBER = re.compile(r"[^\W\d_][\w’'-]*|\d+")
_LABEL = re.compile(r"^\s*(?:the\s+)?(?:question|query|standalone question)(?:\s+alone)?\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Conversation:
    """`turns` are the user's and the assistant's, the last one the user's; `query` is that as a question of its own."""

    turns: tuple[Message, ...]
    instructions: str = ""  # the operator's and the client's, under the task's own
    query: str = ""

    @property
    def last(self) -> str:
        return self.turns[-1].content

    def around(self, prompt: Sequence[Message]) -> list[Message]:
        """A task's prompt with the instructions and the earlier turns in it."""
        system = [m.content for m in prompt if m.role == "system"]
        said = "\n\n".join([*system, *([apart(self.instructions)] if self.instructions else [])])
        earlier = [Message(m.role, apart(m.content)) for m in self.turns[:-1]]
        return [*([Message("system", said)] if said else []), *earlier, *(m for m in prompt if m.role != "system")]


def recent(turns: Sequence[Message], tokens: int) -> tuple[Message, ...]:
    """The last turns that fit into so many tokens, the last one in any case; they begin with one of the user's."""
    kept, left = [turns[-1]], tokens * BYTES
    for turn in reversed(turns[:-1]):
        left -= len(turn.content.encode())
        if left < 0:
            break
        kept.insert(0, turn)
    while kept[0].role != "user":
        kept.pop(0)
    return tuple(kept)


def stands_alone(turns: Sequence[Message]) -> bool:
    """Whether the last turn needs no other. Of texts that are not English this is known of the first turn alone."""
    if not any(turn.role == "user" for turn in turns[:-1]):
        return True
    words = [word.lower() for word in _WORD.findall(turns[-1].content)]
    return len(words) >= MANY_WORDS and not _ENGLISH.isdisjoint(words) and _REFERS.isdisjoint(words)


async def standing_alone(turns: Sequence[Message], generator: Generator, prompts_dir: str | None = None) -> str:
    """The last turn as a question that stands alone; where the model gives none, after the user's turn before it.

    A weak model answers in place of asking, and names what nobody named: that would be searched for.
    """
    names = {"user": "User", "assistant": "Assistant"}
    shown = "\n".join(f"{names[turn.role]}: {' '.join(turn.content.split())}" for turn in turns)
    prompt = render("chat.query", prompts_dir, conversation=shown)
    reply = await generator.generate(prompt, Sampling(max_tokens=QUERY_TOKENS, one_line=True))
    said = next((line.strip() for line in reply.text.splitlines() if line.strip()), "")
    said = _LABEL.sub("", said).strip().strip("\"“”'")
    whole = 0 < len(said) <= LONGEST_QUERY and reply.finish_reason != "length"
    asks = whole and (said[-1] in "?？؟;" or (count(said) >= FEWEST_WORDS and _keeps_to(shown, said)))
    asked = [turn.content for turn in turns if turn.role == "user"][-2:]
    return said if asks else " ".join(asked)[-LONGEST_QUERY:]


def _keeps_to(shown: str, said: str) -> bool:
    """Whether the names and numbers of `said`, as far as capitals and digits show them, are the conversation's."""
    known, words = shown.casefold(), _NAME_OR_NUMBER.findall(said)
    named = [word for word in words[1:] if word[0].isupper() or word[0].isdigit()]  # any first word has a capital
    return all(word.casefold() in known for word in named)
