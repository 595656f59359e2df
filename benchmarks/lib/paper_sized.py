"""What stands in for the paper's model and questions where neither is at hand: the same sizes, and dummy weights.

An engine is as fast with dummy weights as with real ones, but what it writes means nothing, so that no gate would ever
open. So it reads every prompt, writes as many tokens as a reply of the paper's size has, and then `Script` puts the
reply that the paper's shares call for in the place of what it wrote.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from wbrag.core.config import load
from wbrag.core.prompts import render
from wbrag.core.sentences import sentences
from wbrag.core.types import Completion, Generator, Messages, Prompt, Sampling
from wbrag.data.demo.facts import demo_world
from wbrag.evaluation.estimate import PlanRequest, workload
from wbrag.evaluation.estimate.calls import Shares, Words
from wbrag.generators import model_path
from wbrag.generators.wrapper import GeneratorWrapper

ALONE = 0.27  # a document answers alone: with the two that are kept where none does, 1.77 of 5 are retained
DOCUMENT = re.compile(r"^Doc \d+\(Title: .*?\) (.*)$", re.MULTILINE)
QUESTION = re.compile(r"^Question: (.*)$", re.MULTILINE)
BLANK = {"question": "", "documents": "", "evidence": "", "max_sentences": ""}
EVIDENCE, REWRITE = (render(name, **BLANK)[0].content for name in ("evidence", "rewrite"))


@dataclass(frozen=True)
class Architecture:
    """A Llama's shape."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    head: int

    @property
    def parameters(self) -> int:
        """Embeddings and output both counted; norms are not."""
        attention = self.hidden * self.head * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate) + 2 * self.vocabulary * self.hidden

    def write(self, folder: Path) -> Path:
        """A model folder without weights, for `load_format: dummy`; the tokenizer is the embedded model's."""
        folder.mkdir()
        embedded = Path(model_path(load().generator))
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(embedded / name, folder / name)
        given = json.loads((embedded / "config.json").read_text(encoding="utf-8"))
        shape: dict[str, Any] = {
            "dtype": "bfloat16",
            "hidden_size": self.hidden,
            "head_dim": self.head,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": False,
        }
        (folder / "config.json").write_text(json.dumps(given | shape, indent=1) + "\n", encoding="utf-8")
        return folder


LLAMA_8B = Architecture(4096, 14_336, 32, 32, 8, 128_256, 128)  # Llama 3.1 8B
TINY = Architecture(128, 256, 1, 2, 2, 6016, 64)


def write_questions(folder: Path, examples: int, passages: int) -> None:
    """`corpus.jsonl`, passages of the demo's sentences in any order, and `train.jsonl`, no question twice."""
    rng, words = random.Random(0), sizes()[1]
    pool = [p.text[a:b] for p in demo_world().passages for a, b in sentences(p.text)]
    titles = [p.title for p in demo_world().passages]
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus:
        for n in range(passages):
            contents = f"{rng.choice(titles)}\n{rng.choice(pool)}"
            while len(contents.split()) < words.passage - 4:  # half of a sentence
                contents += f" {rng.choice(pool)}"
            corpus.write(json.dumps({"id": f"p{n}", "contents": contents}) + "\n")
    with (folder / "train.jsonl").open("w", encoding="utf-8") as train:
        for n in range(examples):
            question = " ".join(" ".join(rng.sample(pool, 3)).split()[: int(words.question)]) + f" {n}?"
            train.write(json.dumps({"id": f"q{n}", "question": question, "golden_answers": [gold(question)]}) + "\n")


def sizes() -> tuple[Shares, Words]:
    """The paper's, for Natural Questions, as `wbrag plan` has them."""
    return workload(PlanRequest(1, 1, "8b"), load().enrich.top_k)[:2]


def gold(question: str) -> str:
    """Three words, which is what an answer has."""
    return f"answer {question.split()[-1].rstrip('?')} indeed"


@dataclass(frozen=True)
class Script:
    """What a model of the paper's accuracy would reply; equal prompts get equal replies, in every process."""

    shares: Shares
    words: Words
    tokenizer: str  # its file

    def reply(self, prompt: Messages) -> str:
        system, user = prompt[0].content, prompt[-1].content
        if system == EVIDENCE:
            return self._evidence(DOCUMENT.findall(user))
        if system == REWRITE:
            told = user.partition("Supporting knowledge:\n")[2].rpartition("\n")[0].split()
            return f"{' '.join(told[:3])}\n{' '.join(told[: round(self.words.unit) - 3])}"
        question, shown = QUESTION.findall(user)[-1], DOCUMENT.findall(system)
        drawn = random.Random(question).random()
        if not shown:
            right = drawn < self.shares.closed_book
        elif len(shown) == 1:
            right = random.Random(question + shown[0]).random() < ALONE
        else:
            right = drawn < self.shares.closed_book + self.shares.accepted
        return gold(question) if right else "nothing is known"

    def tokens(self, text: str) -> int:
        """Of a reply, with the one that ends it."""
        return len(_tokenizer(self.tokenizer).encode(text, add_special_tokens=False).ids) + 1

    def _evidence(self, documents: Sequence[str]) -> str:
        """The first sentences of each document in turn, until there are enough words."""
        lines, count = [], 0
        for number, document in enumerate(documents, 1):
            for start, end in sentences(document):
                if count < self.words.evidence * number / len(documents):
                    lines.append(f"[Doc {number}] {document[start:end]}")
                    count += len(document[start:end].split())
        return "\n".join(lines)


@cache
def _tokenizer(file: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(file)


class Scripted(GeneratorWrapper):
    """The engine does its work on every call, at the script's length; its reply is the script's."""

    def __init__(self, generator: Generator, script: Script) -> None:
        super().__init__(generator)
        self.script = script

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Completion:
        assert not isinstance(prompt, str)
        text = self.script.reply(prompt)
        length = min(sampling.max_tokens, self.script.tokens(text))
        done = await self.generator.generate(prompt, replace(sampling, max_tokens=length))
        return replace(done, text=text, finish_reason="stop")
