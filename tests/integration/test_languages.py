"""German, Japanese and Arabic go the whole way: ingest, index, gates, distillation, checks, publication.

The endpoint is scripted: what is claimed is the path, not what a model makes of it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.support.hostless import Words, open_life
from tests.support.openai_server import OpenAIServer
from wbrag.core.sentences import sentences
from wbrag.core.words import count
from wbrag.retrieval.index.shard import open_shards


class Fact(NamedTuple):
    question: str
    golden: str
    says: str  # what the model answers: with a preamble, an article, marks of its own
    sentence: str
    filler: str
    title: str


FACTS = [
    Fact(
        "Wer baute die Brücke von Tarn?",
        "ODRAN PELL",
        "Die Antwort lautet: „Odran Pell“.",
        "Die Brücke von Tarn baute Odran Pell am 3. Mai 1911.",
        "Der Fluss führt im Frühjahr viel Wasser, z. B. nach der Schneeschmelze. ",
        "Brücke von Tarn",
    ),
    Fact(
        "セン橋はいつ完成しましたか？",
        "１９１１年",
        "答え：1911年。古い橋です。",
        "セン橋は1911年に完成した。",
        "春には川の水がとても多くなり、岸の近くの道は通れなくなる。",
        "セン橋",
    ),
    Fact(
        "من بنى جسر ميرو؟",
        "أودران بيل",
        "الجواب هو: أودران بِيل،",
        "بنى جسر ميرو المهندس أودران بيل عام 1911.",
        "ترتفع مياه النهر في الربيع كل عام وتغلق الطرق القريبة من الضفة. ",
        "جسر ميرو",
    ),
]


class Pairs(Words):
    """A text's vector counts its pairs of characters: words are no unit of Japanese."""

    async def queries(self, texts: Sequence[str]) -> np.ndarray:  # type: ignore[type-arg]
        return np.stack([self._counted(re.sub(r"\W", "", text)) for text in texts])

    passages = queries

    def _counted(self, text: str) -> np.ndarray:  # type: ignore[type-arg]
        vector = np.full(self.dimension, 0.01, np.float32)
        for a, b in pairwise(text):
            vector[(ord(a) * 31 + ord(b)) % self.dimension] += 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def reply(messages: list[dict[str, str]]) -> str:
    prompt = "\n".join(message["content"] for message in messages)
    fact = next((fact for fact in FACTS if fact.question in prompt), FACTS[0])
    if "Extract only the sentences" in prompt:
        lines = re.findall(r"^Doc (\d+)\(Title: .*$", prompt, re.MULTILINE)
        found = [n for n in lines if fact.sentence in prompt.split(f"Doc {n}(")[1].split("\nDoc ")[0]]
        return "\n".join(f"[Doc {n}] {fact.sentence}" for n in found)
    if "Write one high-utility" in prompt:
        return f"{fact.title}\n{fact.sentence}"
    return fact.says if fact.sentence in prompt else "?"


@pytest.mark.integration
def test_from_ingest_to_a_published_unit(tmp_path: Path) -> None:
    corpus = [
        {"id": f"d{i}", "title": fact.title, "text": fact.filler * 20 + fact.sentence + fact.filler * 20}
        for i, fact in enumerate(FACTS)
    ]
    rows = [{"question": fact.question, "golden_answers": [fact.golden]} for fact in FACTS]
    for name, records in {"corpus": corpus, "train": rows}.items():
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    with OpenAIServer(reply=reply) as server, open_life(str(tmp_path / "w"), server.url, Pairs()) as w:
        assert w.ingest_corpus(tmp_path / "corpus.jsonl").rows > 9
        w.ingest_examples(tmp_path / "train.jsonl", "tongues", "train", task="qa/unicode")
        w.index()
        enriched = w.enrich("tongues/train")
        assert enriched["accepted"] == 3, enriched
        assert enriched["checks"] == {"passed": 3, "failed": {}}
        published = w.publish(policy="auto")
        assert published.units == 3
        units = {stored.unit.title: stored.unit for stored in w.shelf.read()}
        assert {title: unit.text for title, unit in units.items()} == {fact.title: fact.sentence for fact in FACTS}
        [(manifest, origin)] = [found for found in w.layout.indexes("latest") if found[1] == "writeback"]
        [shard] = open_shards(tmp_path / "w" / "index", manifest, origin, gpu=False)
        vectors = asyncio.run(Pairs().queries([fact.question for fact in FACTS]))
        assert [hits[0].title for hits in shard.search(vectors, 1)] == [fact.title for fact in FACTS]


def test_its_documents_are_cut_at_sentences() -> None:
    for fact in FACTS:
        text = fact.filler + fact.sentence + " " * (fact.title != "セン橋") + fact.filler
        said = [text[start:end] for start, end in sentences(text)]
        assert said == [fact.filler.strip(), fact.sentence, fact.filler.strip()]
        assert count(fact.filler) > 8
