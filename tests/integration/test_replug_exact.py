"""RePlug under vLLM writes the very tokens that the exact mixture over full logits writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from scipy.special import softmax

from tests.support.engine import Engine
from wbrag.core.reading import read_answer
from wbrag.core.sections import MethodsConfig, ReplugConfig
from wbrag.core.tasks import task
from wbrag.core.types import Answer, Example, Hit, Messages, Sampling
from wbrag.data.demo.facts import demo_world, examples
from wbrag.methods import Rag
from wbrag.methods.replug import answer

pytestmark = [pytest.mark.integration, pytest.mark.slow]
MAX_TOKENS, TEMPERATURE, QUESTIONS = 12, 0.1, 8


def documents(number: int, example: Example) -> list[Hit]:
    """Three passages, one of them with the answer, at scores that are not all alike."""
    passages = demo_world().passages
    right = next(p for p in passages if example.golden_answers[0] in p.text)
    others = [passages[(37 * number + 11 * i) % len(passages)] for i in range(2)]
    picked = [*others[: number % 3], right, *others[number % 3 :]]
    return [Hit(p.id, p.title, p.text, 0.8 - 0.07 * i) for i, p in enumerate(picked)]


class Exact:
    """Equation 2 with every logit, in transformers, float32."""

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch, self.tokenizer = torch, AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)

    def ids(self, prompt: Messages) -> list[int]:
        parts = [{"role": m.role, "content": m.content} for m in prompt]
        return list(self.tokenizer.apply_chat_template(parts, add_generation_prompt=True, return_dict=False))

    def next(self, ids: list[int]) -> Any:
        """The whole distribution after `ids`."""
        with self.torch.no_grad():
            return self.model(self.torch.tensor([ids])).logits[0, -1].softmax(-1)

    def tokens(self, prompts: Sequence[Messages], weights: Sequence[float]) -> str:
        """The mixture's greedy answer."""
        written: list[int] = []
        for _ in range(MAX_TOKENS):
            mixture = sum(weight * self.next([*self.ids(p), *written]) for weight, p in zip(weights, prompts))
            token = int(mixture.argmax())
            if token == self.tokenizer.eos_token_id:
                break
            written.append(token)
        return read_answer(self.tokenizer.decode(written, skip_special_tokens=True))

    def sequence(self, prompts: Sequence[Messages], weights: Sequence[float]) -> str:
        """Of the documents' own greedy answers the one that the mixture finds likeliest."""

        def likely(prompt: Messages, text: str) -> float:
            ids, product = self.ids(prompt), 1.0
            for token in self.tokenizer.encode(text, add_special_tokens=False):
                product *= float(self.next(ids)[token])
                ids.append(token)
            return product

        candidates = dict.fromkeys(self.tokens([prompt], [1.0]) for prompt in prompts)
        return max(candidates, key=lambda text: sum(w * likely(p, text) for w, p in zip(weights, prompts)))


def test_both_levels_answer_as_the_exact_mixture(engine: Engine) -> None:
    generator = engine.generator

    class Nothing:
        async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            raise AssertionError("documents are given")

    asked = [(e.question, documents(i, e)) for i, e in enumerate(examples()["train"][:QUESTIONS])]

    def rag(level: Literal["token", "sequence"]) -> Rag:
        settings = MethodsConfig(replug=ReplugConfig(temperature=TEMPERATURE, level=level))
        return Rag(generator, Nothing(), task("qa"), 3, Sampling(MAX_TOKENS), settings=settings)

    async def run() -> list[list[Answer]]:
        return [
            await asyncio.gather(*(answer(question, rag(level), hits) for question, hits in asked))
            for level in ("token", "sequence")
        ]

    by_token, by_sequence = engine.run(run())
    exact = Exact(generator.path)
    for (question, hits), token, sequence in zip(asked, by_token, by_sequence):
        weights = list(softmax([hit.score / TEMPERATURE for hit in hits]))
        prompts = [task("qa").messages(question, [hit]) for hit in hits]
        assert token.text == exact.tokens(prompts, weights)
        assert token.details["unsure"] == 0 and token.details["tail"] < 0.5
        assert sequence.text == exact.sequence(prompts, weights)
    assert any(found.details["candidates"] > 1 for found in by_sequence), "there was nothing to choose"
