"""Traced generator: a span around every call to the model, by the GenAI conventions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from wbrag.core import tracing
from wbrag.core.types import Completion, Generator, Prompt, Sampling
from wbrag.generators.wrapper import GeneratorWrapper


class TracedGenerator(GeneratorWrapper):
    """`generator`; what it is asked and says are the span's, where texts may be kept."""

    def __init__(self, generator: Generator, model: str, provider: str) -> None:
        super().__init__(generator)
        self.model, self.provider = model, provider

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        with tracing.span(f"chat {self.model}", self._asked(prompt, sampling), "client") as span:
            whole = await super().generate(prompt, sampling)
            _answered(span, whole)
            return whole

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Completion]:
        span = tracing.begun(f"chat {self.model}", self._asked(prompt, sampling), "client")
        text, tokens, prompt_tokens, reason = "", 0, 0, ""
        try:
            async with aclosing(super().stream(prompt, sampling)) as pieces:
                while True:
                    with span.running():  # between pieces the caller is at work
                        piece = await anext(pieces, None)
                    if piece is None:
                        break
                    text, tokens = text + piece.text, tokens + piece.tokens
                    prompt_tokens, reason = piece.prompt_tokens or prompt_tokens, piece.finish_reason or reason
                    yield piece
        except GeneratorExit:  # the answer was there before the reply's end
            raise
        except BaseException as error:
            span.failed(error)
            raise
        finally:
            _answered(span, Completion(text, tokens, prompt_tokens, reason))
            span.end()

    def _asked(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return {
            **tracing.step("LLM"),
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "llm.model_name": self.model,
            **tracing.prompted(prompt),
        }


def _answered(span: tracing.Span, whole: Completion) -> None:
    span.set(
        {
            "gen_ai.usage.input_tokens": whole.prompt_tokens,
            "gen_ai.usage.output_tokens": whole.tokens,
            "gen_ai.response.finish_reasons": [whole.finish_reason] if whole.finish_reason else None,
            "llm.token_count.prompt": whole.prompt_tokens,
            "llm.token_count.completion": whole.tokens,
        }
    )
    span.said(output=whole.text)
