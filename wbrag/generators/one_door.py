"""One door: the `Generator` protocol over a single method that is given the name of the call and its arguments.

For what treats all calls alike: engines elsewhere, and engines that die.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

from wbrag.core.types import Completion, Messages, NextTokens, Prompt, Sampling, Scored


class OneDoor(ABC):
    """Subclasses say what becomes of a call, and how the generator starts and closes."""

    @abstractmethod
    async def ask(self, method: str, *arguments: Any) -> Any:
        """What `Generator`'s `method` returns for these arguments."""

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        return cast(Completion, await self.ask("generate", prompt, sampling))

    async def score(self, prompt: Messages, continuation: str) -> Scored:
        return cast(Scored, await self.ask("score", prompt, continuation))

    async def next_tokens(self, prompt: Prompt, prefix: Sequence[int], top: int) -> NextTokens:
        return cast(NextTokens, await self.ask("next_tokens", prompt, prefix, top))

    async def decode(self, ids: Sequence[int]) -> str:
        return cast(str, await self.ask("decode", ids))

    async def knows(self, tokens: Sequence[str]) -> bool:
        return cast(bool, await self.ask("knows", tokens))
