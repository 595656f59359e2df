"""Files are told by what is in them, whatever they are called, and bad lines can be left out."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wbrag.core.errors import WbragError
from wbrag.data import ingest_corpus, ingest_examples

ROWS = [{"id": str(i), "text": f"Text {i}."} for i in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def read(path: Path, format: str = "jsonl", **how: Any) -> list[dict[str, Any]]:
    result = ingest_corpus(path, path.parent / "out", format=format, **how)
    rows: list[dict[str, Any]] = pq.read_table(result.path).to_pylist()
    return rows


def ids(path: Path, format: str = "jsonl", **how: Any) -> list[str]:
    return [row["id"] for row in read(path, format, **how)]


def zstd(data: bytes) -> bytes:
    with pa.BufferOutputStream() as out:
        with pa.CompressedOutputStream(out, "zstd") as stream:
            stream.write(data)
        return bytes(out.getvalue().to_pybytes())


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c"])
@pytest.mark.parametrize("text", [LINES, json.dumps(ROWS), json.dumps(ROWS, indent=2), "\ufeff\n" + LINES])
def test_packed_in_any_way_and_called_anything(tmp_path: Path, packing: str, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(PACKED[packing](text.encode()))
    assert ids(tmp_path / name) == ["0", "1", "2"]


@pytest.mark.parametrize("packing", [name for name in PACKED if name != "plain"])
def test_a_packed_file_cut_short(tmp_path: Path, packing: str) -> None:
    whole = PACKED[packing](os.urandom(100_000).hex().encode())
    (tmp_path / "c.jsonl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WbragError, match=f"expected a whole {packing} file, found a broken one") as refused:
        ids(tmp_path / "c.jsonl")
    assert "\n" not in str(refused.value)


def _tar() -> bytes:
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("c.jsonl"), io.BytesIO())
        return gzip.compress(out.getvalue(), mtime=0)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (b"%PDF-1.7", "a PDF file"),
        (b"SQLite format 3\0", "an SQLite database"),
        (_tar(), "a tar archive"),
    ],
    ids=["zip", "pdf", "sqlite", "tar"],
)
def test_other_kinds_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    for format in ("jsonl", "csv", "tsv"):
        (tmp_path / "c").write_bytes(data)
        with pytest.raises(WbragError, match=f"expected text, found {kind}"):
            ids(tmp_path / "c", format)


def test_parquet_is_read_whatever_it_is_said_to_be(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.jsonl")
    for format in ("flashrag", "csv", "tsv", "parquet"):
        assert ids(tmp_path / "c.jsonl", format) == ["0", "1", "2"]


def test_utf16_and_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_bytes("id\ttext\n1\tÉté\n".encode("utf-16"))
    assert read(tmp_path / "c.tsv", "tsv")[0]["text"] == "Été"
    (tmp_path / "c.csv").write_bytes("id,text\n1,ok\n2,Été\n".encode("latin-1"))
    with pytest.raises(WbragError, match=r"c.csv, line 3: expected UTF-8 text, found the byte 0xc9"):
        read(tmp_path / "c.csv", "csv")
    assert [row["text"] for row in read(tmp_path / "c.csv", "csv", on_bad="skip")] == ["ok"]


def test_nested_folders(tmp_path: Path) -> None:
    """As the hub and Spark leave them: marks, hidden files and checksums beside the data."""
    data = tmp_path / "data"
    for name, row in {"train/a.parquet": 0, "lang=en/b.snappy.parquet": 1, "c.parquet": 2}.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(ROWS[row : row + 1]), data / name)
    for name in ("_SUCCESS", ".c.parquet.crc", "README.md", "_temporary/x.parquet"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("no data")
    assert ids(data, "parquet") == ids(data) == ["2", "1", "0"]
    (data / "more").mkdir()
    (data / "more" / "d.jsonl.gz").write_bytes(gzip.compress(b'{"id": "d", "text": "x"}\n'))
    assert ids(data) == ["d"]
    with pytest.raises(WbragError, match=r"files that end in .csv, .* found README.md, c.parquet"):
        ids(data, "csv")


def test_arrays_as_lines(tmp_path: Path) -> None:
    """What a line may hold an array may hold: Python writes NaN, and numbers of any size."""
    text = '[{"id": 99999999999999999999, "text": "x\\ud800", "title": NaN, "trust": 1e400}, {"id": 2, "text": "y"}, 3'
    (tmp_path / "c.json").write_text("\ufeff" + text + "]", encoding="utf-8")
    result = ingest_corpus(tmp_path / "c.json", tmp_path / "out", format="jsonl", on_bad="skip")
    assert (result.rows, result.left_out) == (1, {"does not fit": 2})
    (tmp_path / "c.json").write_text(text.replace("1e400", "1").rstrip("3, ") + "]", encoding="utf-16")
    result = ingest_corpus(tmp_path / "c.json", tmp_path / "out", format="jsonl")
    assert (result.rows, result.mended) == (2, 1)
    assert pq.read_table(result.path)["id"].to_pylist() == ["99999999999999999999", "2"]


@pytest.mark.parametrize(
    "tail", [', {"id": "9"', ', {"id": "9", "text": b}, {"id": "8", "text": "x"}]', "]]", "] {}", "] x"]
)
def test_an_array_that_goes_wrong_is_refused_whole(tmp_path: Path, tail: str) -> None:
    """Also where bad records are skipped: a corpus of its head, with one record left out, is no corpus."""
    (tmp_path / "c.json").write_text(json.dumps(ROWS)[:-1] + tail)
    with pytest.raises(WbragError, match="item 4, before byte .*: expected JSON, found it malformed"):
        ids(tmp_path / "c.json", on_bad="skip")


def test_a_malformed_item_of_a_huge_array_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('[{"id": 1, "text": nope}, ' + json.dumps({"id": 2, "text": "x" * 300_000}) * 400)
    with pytest.raises(WbragError, match="item 1, before byte .*malformed .Expecting value"):
        ids(tmp_path / "c.json")


def test_arrays_in_pages(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("[]\n" + "\n".join(json.dumps([row]) for row in ROWS))
    assert ids(tmp_path / "c.json") == ["0", "1", "2"]


def test_contents_count_where_the_text_is_null(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": null, "contents": "T\\nBody."}')
    assert [(row["title"], row["text"]) for row in read(tmp_path / "c.jsonl")] == [("T", "Body.")]


def test_a_folder_of_two_splits_is_no_set_of_examples(tmp_path: Path) -> None:
    row = {"question": "Who?", "golden_answers": ["A"]}
    data, out = tmp_path / "data", tmp_path / "e.parquet"
    data.mkdir()
    for name in ("train-00000-of-00001", "validation-00000-of-00001"):
        pq.write_table(pa.Table.from_pylist([row]), data / f"{name}.parquet")
    (data / "dataset_infos.json").write_text("{}")
    (data / "linked").symlink_to(data, target_is_directory=True)
    with pytest.raises(WbragError, match="expected a folder of one split, found files of train, validation; give one"):
        ingest_examples(data, out, format="flashrag", task="qa")
    (data / "validation-00000-of-00001.parquet").unlink()
    result = ingest_examples(data, out, format="flashrag", task="qa")
    assert (result.rows, result.passed_over) == (1, ("dataset_infos.json",))


def test_names_in_capitals_and_behind_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "B.JSONL.GZ").write_bytes(gzip.compress(LINES.encode()))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    result = ingest_corpus(tmp_path / "data", tmp_path / "out", format="jsonl")
    assert (result.rows, result.passed_over) == (3, ("gone.jsonl",))
    with pytest.raises(WbragError, match="found nothing; give the folder, files below it are found"):
        ids(tmp_path / "data" / "*.jsonl")


BAD_LINES = [
    "{",
    "[1]",
    '{"id": "9"}',
    '{"text": "no id"}',
    '{"id": "0", "text": "other text"}',
    "\xff",
    '{"id": 5, "te',
]


def test_bad_lines_are_left_out_counted_and_kept(tmp_path: Path) -> None:
    text = LINES + "\n".join(BAD_LINES) + "\n" + '{"id": "last", "text": "x"}\n{"id": "empty", "text": " \\n"}\n'
    (tmp_path / "c.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(WbragError, match="line 4: expected JSON"):
        ids(tmp_path / "c.jsonl", kept_in=tmp_path / "left.jsonl")
    assert not (tmp_path / "left.jsonl").exists()
    result = ingest_corpus(
        tmp_path / "c.jsonl", tmp_path / "out", format="jsonl", on_bad="skip", kept_in=tmp_path / "left.jsonl"
    )
    assert (result.rows, result.quarantined) == (4, 8)
    assert result.left_out == {"does not fit": 6, "id used twice": 1, "no text": 1}
    left = [json.loads(line) for line in (tmp_path / "left.jsonl").read_text().splitlines()]
    assert len(left) == 8 and all(item["why"].startswith(item["where"]) for item in left)
    (tmp_path / "c.jsonl").write_text(LINES)
    ingest_corpus(tmp_path / "c.jsonl", tmp_path / "out", format="jsonl", kept_in=tmp_path / "left.jsonl")
    assert not (tmp_path / "left.jsonl").exists()


def test_a_second_text_of_one_id_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(LINES + '{"id": "1", "text": "Another."}\n')
    with pytest.raises(WbragError, match=r"c.jsonl, line 4: id '1': expected once, found twice"):
        ids(tmp_path / "c.jsonl")
    rows = read(tmp_path / "c.jsonl", on_bad="skip")
    assert [row["text"] for row in rows] == ["Text 0.", "Text 1.", "Text 2."]


def test_nothing_that_fits_says_why(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text('{"question": "Who?", "golden_answers": []}\n{}\n')
    with pytest.raises(WbragError, match="line 1: expected at least one golden answer.*of the 2 records none could"):
        ingest_examples(tmp_path / "e.jsonl", tmp_path / "e.parquet", format="jsonl", task="qa", on_bad="skip")


def test_questions_without_an_answer_are_left_out(tmp_path: Path) -> None:
    """Half of SQuAD 2.0, as the hub has it: nobody can edit that file."""
    rows = [{"id": str(i), "question": f"Q{i}?", "answers": {"text": ["A"] * (i % 2)}} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    result = ingest_examples(
        tmp_path / "e.parquet",
        tmp_path / "out.parquet",
        format="parquet",
        task="squad",
        columns={"golden_answers": "answers.text"},
    )
    assert (result.rows, result.documents, result.left_out) == (2, 4, {"no golden answer": 2})


def test_an_ingest_killed_between_its_renames_leaves_the_earlier_corpus(tmp_path: Path) -> None:
    """The only copy is in the scratch folder then; the next ingest brings it back, even if it fails itself."""
    (tmp_path / "c.jsonl").write_text(LINES)
    assert ids(tmp_path / "c.jsonl") == ["0", "1", "2"]
    scratch = tmp_path / ".out.dead.tmp"
    scratch.mkdir()
    (scratch / "lock").touch()
    (tmp_path / "out").rename(scratch / "old")
    (tmp_path / "c.jsonl").write_text("{")
    with pytest.raises(WbragError):
        ids(tmp_path / "c.jsonl")
    assert pq.read_table(tmp_path / "out")["id"].to_pylist() == ["0", "1", "2"]
    assert not scratch.exists()


def test_a_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.jsonl")
    writer = subprocess.Popen(["/bin/sh", "-c", f"printf '%s' '{LINES}' > {tmp_path / 'c.jsonl'}"])
    assert ids(tmp_path / "c.jsonl") == ["0", "1", "2"]
    assert writer.wait() == 0


def test_what_a_killed_ingest_left_goes_with_the_next(tmp_path: Path) -> None:
    script = f"""
        import os
        from wbrag.data import ingest_corpus
        ingest_corpus("{tmp_path}/c.jsonl", "{tmp_path}/out", format="jsonl", progress=lambda *at: os._exit(9))
    """
    (tmp_path / "c.jsonl").write_text(LINES)
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script)]).returncode == 9
    assert len(list(tmp_path.glob(".out.*.tmp"))) == 1
    assert ids(tmp_path / "c.jsonl") == ["0", "1", "2"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["c.jsonl", "out"]
