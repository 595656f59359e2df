"""RePlug under vLLM writes the very tokens that the exact mixture over full logits writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from scipy.special import softmax

from wbrag.config import GeneratorConfig, MethodsConfig, ReplugConfig
from wbrag.demo.facts import demo_world, examples
from wbrag.generators.vllm import VLLMGenerator
from wbrag.methods import Rag
from wbrag.methods.replug import answer
from wbrag.tasks import read_answer, task
from wbrag.types import Answer, Hit, Messages, Sampling

pytestmark = pytest.mark.integration
MAX_TOKENS, TEMPERATURE, QUESTIONS = 12, 0.1, 8


def documents(question: int) -> list[Hit]:
    """Three passages, other ones for every question, with scores that are not all alike."""
    passages = demo_world().passages
    picked = [passages[(37 * question + 11 * i) % len(passages)] for i in range(3)]
    return [Hit(p.id, p.title, p.text, 0.8 - 0.07 * i) for i, p in enumerate(picked)]


class Exact:
    """Equation 2 with every logit, in transformers, float32."""

    def __init__(self, path: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch, self.tokenizer = torch, AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)

    def __call__(self, prompts: Sequence[Messages], weights: Sequence[float]) -> str:
        starts = [
            self.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in prompt], add_generation_prompt=True, return_dict=False
            )
            for prompt in prompts
        ]
        written: list[int] = []
        with self.torch.no_grad():
            for _ in range(MAX_TOKENS):
                mixture = sum(
                    weight * self.model(self.torch.tensor([[*start, *written]])).logits[0, -1].softmax(-1)
                    for weight, start in zip(weights, starts)
                )
                token = int(mixture.argmax())
                if token == self.tokenizer.eos_token_id:
                    break
                written.append(token)
        return read_answer(self.tokenizer.decode(written, skip_special_tokens=True))


def test_same_tokens_as_the_exact_mixture() -> None:
    generator = VLLMGenerator(GeneratorConfig())
    settings = MethodsConfig(replug=ReplugConfig(temperature=TEMPERATURE))

    class Nothing:
        async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
            raise AssertionError("documents are given")

    rag = Rag(generator, Nothing(), task("qa"), 3, Sampling(MAX_TOKENS), settings=settings)
    asked = [e.question for e in examples()["train"][:QUESTIONS]]

    async def run() -> list[Answer]:
        found = await asyncio.gather(*(answer(q, rag, documents(i)) for i, q in enumerate(asked)))
        await generator.close()
        return found

    answers = asyncio.run(run())
    exact = Exact(generator.path)
    for i, (question, found) in enumerate(zip(asked, answers)):
        hits = documents(i)
        weights = softmax([hit.score / TEMPERATURE for hit in hits])
        expected = exact([rag.task.messages(question, [hit]) for hit in hits], weights)
        assert found.text == expected
        assert found.details["unsure"] == 0 and found.details["tail"] < 0.5
