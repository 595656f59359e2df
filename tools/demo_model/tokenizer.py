"""Tokenizer training: byte-level BPE, learned from drawn worlds and, where given, English text.

The special tokens come first and keep their ids: the model's configuration names them by number.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_model.samples import ANSWER, END, stream
from wbrag.data.demo.world import grammar

PAD = "<|pad|>"
VOCABULARY = 6016  # a multiple of 64: the output layer's matrix product is faster
MAX_LENGTH = 2048
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    + ANSWER
    + "{{ m.content }}"
    + END
    + "{% else %}{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    + ANSWER
    + "{% endif %}"
)


def train_tokenizer(seed: int, english: Iterable[str] = (), samples: int = 6000) -> PreTrainedTokenizerFast:
    """Learn the merges from `samples` fresh training samples and the `english` texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, ANSWER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(seed, english, samples), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def _texts(seed: int, english: Iterable[str], samples: int) -> Iterator[str]:
    rng = random.Random(seed)
    drawn = stream(rng, lambda: rng.random() < 0.5, known=(), english=None)
    parts = grammar()["names"]
    stem = re.compile(rf"({'|'.join(parts['heads'])})({'|'.join(parts['tails'])})\b")
    for _ in range(samples):
        # Invented names stay two or three tokens: copying strings of several tokens is what teaches looking up.
        yield from (stem.sub(r"\1-\2", text) for text, _ in next(drawn))
    yield from english
