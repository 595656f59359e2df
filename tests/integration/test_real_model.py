"""A real language model, SmolLM2-135M-Instruct, through every method, the judge, distillation and the endpoint.

It reads English passages that were written for this, and answers in sentences. What is asserted holds for any such
model: an answer is found where one was written, nothing of a preamble is left, replies are counted as they ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.support.engine import Engine
from tests.support.serving import bench
from wbrag.core.config import load
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.sections import EnrichConfig
from wbrag.core.tasks import task
from wbrag.core.types import Example, Hit, Message, Sampling
from wbrag.enrich.distil import Distiller
from wbrag.enrich.enrich import Enricher
from wbrag.enrich.judge import judge
from wbrag.enrich.start_check import start_check
from wbrag.generators import generator_fingerprint, smollm2
from wbrag.generators.vllm import VLLMGenerator
from wbrag.methods import Rag, method
from wbrag.retrieval.encoder import BatchedEncoder, Encoder

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(not (find_spec("gguf") and find_spec("accelerate")), reason="needs wbrag[smollm2]"),
]

PASSAGES = [
    Hit(
        "1",
        "Harrowgate Lighthouse",
        "Harrowgate Lighthouse stands on the northern tip of Sable Island. It was built in 1868 by the engineer Miriam "
        "Foss, who used grey granite from the quarry at Tull. Its lamp could be seen from twenty miles away.",
        0.72,
    ),
    Hit(
        "2",
        "Sable Island",
        "Sable Island lies in the Corran Sea, some forty miles off the mainland. About nine hundred people live there, "
        "most of them from fishing and from the summer visitors who come by ferry.",
        0.61,
    ),
    Hit(
        "3",
        "Tull quarry",
        "The quarry at Tull gave grey granite for harbours and churches until 1911, when the last of its railway was "
        "taken up. Today the flooded pit is a place for divers.",
        0.55,
    ),
    Hit("4", "Corran ferry", "The Corran ferry crosses twice a day in summer and once a day in winter.", 0.40),
]
QUESTION = "Who built Harrowgate Lighthouse?"
COLOUR = [Message("user", "Name a colour.")]
METHODS = ("naive", "replug", "selfrag", "flare", "iter_retgen", "planner")


class Library:
    """Finds the same passages for every query."""

    async def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [PASSAGES[:k] for _ in queries]


@pytest.fixture(scope="module")
def small() -> Iterator[Engine]:
    with asyncio.Runner() as loop:
        generator = VLLMGenerator(GeneratorConfig(model="smollm2", dtype="bfloat16", max_model_len=2048))
        yield Engine(generator, loop)
        loop.run(generator.close())


def rag(engine: Engine, name: str = "qa", tokens: int = 32) -> Rag:
    return Rag(engine.generator, Library(), task(name), 4, Sampling(tokens, one_line=True))


def test_it_is_a_model_like_any_other_and_named_by_its_file(small: Engine) -> None:
    assert {"config.json", "model.safetensors", "tokenizer.json", "NOTICE"} <= {f.name for f in smollm2.get().iterdir()}
    one, other = load(generator={"model": "smollm2"}), load(generator={"model": str(smollm2.folder())})
    assert generator_fingerprint(one) != generator_fingerprint(other) != generator_fingerprint(load())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_an_answer(small: Engine, name: str) -> None:
    answer = small.run(method(name)(QUESTION, rag(small), None))
    print(f"{name}: {answer.text!r} {answer.cost} {answer.details}")
    assert answer.text and "\n" not in answer.text and not answer.text.lower().startswith(("answer:", "the answer is:"))
    assert sum(answer.cost.ends.values()) <= answer.cost.calls
    assert answer.hits or name in ("selfrag", "flare"), "these may do without"


def test_it_reads_some_of_what_it_is_shown(small: Engine) -> None:
    """Weakly: of eight facts that stand in one short passage it says at least one."""
    asked = {
        "What is the colour of the granite of Harrowgate Lighthouse?": (0, "grey"),
        "In which year was Harrowgate Lighthouse built?": (0, "1868"),
        "From how far could the lamp be seen?": (0, "twenty"),
        "In which sea does Sable Island lie?": (1, "corran"),
        "How many people live on Sable Island?": (1, "nine hundred"),
        "What did the quarry at Tull give?": (2, "granite"),
        "Until when did the quarry at Tull give granite?": (2, "1911"),
        "How often does the Corran ferry cross in winter?": (3, "once"),
    }
    answers = {q: small.run(method("naive")(q, rag(small), [PASSAGES[n]])).text for q, (n, _) in asked.items()}
    print(answers)
    assert sum(gold in answers[q].lower() for q, (_, gold) in asked.items()) >= 1


def test_closed_book_is_an_answer_too(small: Engine) -> None:
    answer = small.run(method("naive")("What is the capital of France?", rag(small), []))
    assert "paris" in answer.text.lower()


@pytest.mark.parametrize(("name", "question", "label"), [("boolq", "is Harrowgate Lighthouse on an island", "True")])
def test_labels_of_a_closed_set(small: Engine, name: str, question: str, label: str) -> None:
    answer = small.run(method("naive")(question, rag(small, name), None))
    print(repr(answer.text))
    assert task(name).label(answer.text) in ("True", "False")
    assert task(name).score(answer.text, [label]) in (0, 1)


def test_the_judge_says_something_between_no_and_yes(small: Engine) -> None:
    right = small.run(judge(small.generator, QUESTION, "Miriam Foss", PASSAGES))
    assert 0 <= right <= 1


def test_scores_of_continuations(small: Engine) -> None:
    prompt = task("qa").messages(QUESTION, PASSAGES)
    right, wrong = (small.run(small.generator.score(prompt, name)).logprob for name in ("Miriam Foss", "Otto Brandt"))
    assert right > wrong, "the name that stands in the passage is likelier"


def test_what_is_streamed_is_what_is_written(small: Engine) -> None:
    async def heard() -> str:
        return "".join([piece.text async for piece in small.generator.stream(COLOUR, Sampling(12))])

    assert (
        small.run(heard())
        == small.run(small.generator.generate([Message("user", "Name a colour.")], Sampling(12))).text
    )


@pytest.mark.parametrize("how", ["llm", "extractive"])
def test_distillation_ends_in_a_unit_of_its_documents(small: Engine, how: str) -> None:
    settings = EnrichConfig(distiller=how, round_trip=True, max_sentences=2)
    distiller = Distiller(small.generator, BatchedEncoder(Encoder(load().encoder)), settings)
    enricher = Enricher(method("naive"), rag(small), distiller, settings)
    verdict = small.run(enricher.enrich(Example("e", QUESTION, ("Miriam Foss",))))
    print(verdict)
    assert verdict.reason in ("accepted", "retrieval did not help") and verdict.ends
    if verdict.accepted:
        assert verdict.unit and verdict.unit.title and verdict.unit.text and verdict.unit.evidence
        texts = {hit.id: " ".join(hit.text.split()) for hit in PASSAGES}
        assert all(e.sentence in texts[e.passage_id] for e in verdict.unit.evidence)
        assert not verdict.unit.title.lower().startswith(("title:", "here is", "**"))


def test_the_start_check_takes_it_and_says_that_it_hardly_distils(small: Engine) -> None:
    said = small.run(start_check(small.generator, load(generator={"model": "smollm2"}), small.generator))
    print(said)
    assert not said or "distiller extractive" in said


def test_the_endpoint_answers_with_it(small: Engine, tmp_path: Path) -> None:
    gate = bench(tmp_path, small.generator)  # type: ignore[arg-type]
    gate.library.default = PASSAGES

    async def asked(stream: bool) -> httpx.Response:
        transport = httpx.ASGITransport(app=gate.app)
        async with (
            gate.app.router.lifespan_context(gate.app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=120) as client,
        ):
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.01)
            body = {"messages": [{"role": "user", "content": QUESTION}], "stream": stream}
            return await client.post("/v1/chat/completions", json=body)

    reply = small.run(asked(False))
    assert reply.status_code == 200, reply.text
    told = reply.json()["choices"][0]["message"]["content"]
    assert told == small.run(method("naive")(QUESTION, rag(small), PASSAGES)).text != ""
