"""A passage's vector is found by its contents, whatever it was embedded with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbrag.retrieval.index import vector_store
from wbrag.retrieval.index.vector_store import VectorStore, text_keys

TEXTS = st.lists(st.sampled_from("abcdefghij"), max_size=8)


def vector(text: str) -> list[float]:
    return [float(ord(text)), 1.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=5), TEXTS)
def test_what_was_kept_is_found(tmp_path_factory, packs: list[list[str]], wanted: list[str]) -> None:  # type: ignore[no-untyped-def]
    store = VectorStore(tmp_path_factory.mktemp("s"))
    for number, texts in enumerate(packs):
        store.keep(f"p{number}", text_keys(texts), np.array([vector(t) for t in texts]).reshape(-1, 2))
    held = {text for texts in packs for text in texts}
    places = store.places(text_keys(wanted))
    assert places.known.tolist() == [text in held for text in wanted]
    rows = [row for row, text in enumerate(wanted) if text in held]
    if rows:
        found = store.vectors(store.places(text_keys([wanted[row] for row in rows])))
        assert found.tolist() == [vector(wanted[row]) for row in rows]
        part = store.places(text_keys([wanted[row] for row in rows])).of(1, len(rows))
        if len(rows) > 1:
            assert store.vectors(part).tolist() == [vector(wanted[row]) for row in rows[1:]]


def test_half_a_pack_is_none(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    store.keep("p", text_keys(["a"]), np.ones((1, 2)))
    (tmp_path / "p.keys.npy").unlink()  # killed between the two
    assert not store.places(text_keys(["a"])).known.any()


def test_a_block_as_it_was_embedded_is_mapped_and_not_copied(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    store.keep("p", text_keys(list("abc")), np.ones((3, 2)))
    assert isinstance(store.vectors(store.places(text_keys(list("abc")))), np.memmap)
    assert not isinstance(store.vectors(store.places(text_keys(list("acb")))), np.memmap)


def test_many_passages_of_one_text_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stubs such as redirects: a corpus of millions has tens of thousands of one text."""
    store, asked = VectorStore(tmp_path), list[int]()
    store.keep("pack", text_keys(["stub", "other"]), np.eye(2, 4, dtype=np.float16))
    first = vector_store._first

    def counted(keys: Any, there: Any) -> Any:
        asked.append(len(keys))
        return first(keys, there)

    monkeypatch.setattr(vector_store, "_first", counted)
    places = store.places(text_keys(["stub"] * 5000 + ["other", "new"] + ["stub"] * 5000))
    assert asked == [3] and places.known.sum() == 10_001 and not places.known[5001]
    assert (store.vectors(places.of(0, 5000)) == np.eye(2, 4)[0]).all()
