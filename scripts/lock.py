"""Locked requirement sets: requirements/*.txt, with hashes, from pyproject.toml. `python scripts/lock.py [--upgrade]`

Versions stay as they are while pyproject.toml allows them; `--upgrade` or `-P NAME` goes to uv. A set is resolved for
the oldest Python and an old glibc; its hashes are those of every wheel for Linux on x86_64 and CPython 3.11 to 3.14.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from itertools import chain, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from uv_env import uv_variables

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {
    "cpu": ("cpu", "train", "smollm2", "pgvector", "tracing", "test", "dev"),
    "gpu": ("gpu", "hf", "train", "smollm2", "pgvector", "tracing", "test", "dev"),
}
PYTHONS = [(3, minor) for minor in range(11, 15)]
GLIBC = "2_34"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 50)]
PLATFORMS += [f"manylinux{year}_x86_64" for year in (1, 2010, 2014)] + ["linux_x86_64"]


def main(options: list[str]) -> None:
    for name in ("uv", *EXTRAS):
        file = ROOT / "requirements" / f"{name}.txt"
        with tempfile.TemporaryDirectory() as folder:
            pins = resolved(name, file.read_text(encoding="utf-8"), Path(folder), options)
            hashes = wheel_hashes(pins, Path(folder))
        header = takewhile(lambda line: line.startswith("#") or not line.strip(), file.read_text().splitlines())
        lines = chain(header, *([f"{pin} \\", *hash_lines(hashes[name_of(pin)])] for pin in pins))
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {len(pins)} packages")


def resolved(name: str, present: str, folder: Path, options: list[str]) -> list[str]:
    """`name==version` of the whole set, some with a marker, sorted by name."""
    out = folder / f"{name}.txt"
    out.write_text(present, encoding="utf-8")  # uv keeps the versions that it finds here
    told = uv_variables()
    has_links = "UV_FIND_LINKS" in {*os.environ, *told}
    arguments = ["pyproject.toml", *chain(*(("--extra", extra) for extra in EXTRAS.get(name, ())))]
    if name == "uv":
        (folder / "uv.in").write_text("uv\n", encoding="utf-8")
        arguments = [str(folder / "uv.in")]
    if name == "cpu":  # torch's CPU build has a file and an index of its own
        arguments += ["--no-emit-package", "torch", *(["--no-sources"] if has_links else [])]
    target = ["--python-version", "3.11", "--python-platform", f"x86_64-manylinux_{GLIBC}"]
    uv(*arguments, *target, "--no-strip-markers", "-o", str(out), *options, environment=told)
    return [_plain(line) for line in out.read_text(encoding="utf-8").splitlines()]


def _plain(pin: str) -> str:
    """Without a marker that always holds on Linux, x86_64 and CPython."""
    requirement, _, marker = pin.partition(" ; ")
    return pin if "python_" in marker and "implementation" not in marker else requirement


def wheel_hashes(pins: list[str], folder: Path) -> dict[str, list[str]]:
    """By a package's name: the hashes of its wheels that one of our Pythons can install.

    Indexes that pip knows beside its first one are not asked: they may hold some of a version's wheels only.
    """
    every = folder / "every.txt"
    every.write_text("\n".join(pins), encoding="utf-8")
    first = {name: value for name, value in uv_variables().items() if not name.startswith(("UV_INDEX", "UV_FIND"))}
    lock = folder / "pylock.toml"
    uv(str(every), "--no-deps", "--universal", "--python-version", "3.11", "-o", str(lock), environment=first)
    known = {tag for python in PYTHONS for tag in tags(python)}
    packages: list[dict[str, Any]] = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    return {
        package["name"]: sorted(
            wheel["hashes"]["sha256"] for wheel in package["wheels"] if parse_wheel_filename(file_of(wheel))[3] & known
        )
        for package in packages
    }


def tags(python: tuple[int, int]) -> set[Tag]:
    interpreter = f"cp{python[0]}{python[1]}"
    return {*cpython_tags(python, platforms=PLATFORMS), *compatible_tags(python, interpreter, PLATFORMS)}


def file_of(wheel: dict[str, Any]) -> str:
    return str(wheel.get("name") or unquote(urlsplit(wheel["url"]).path.rsplit("/", 1)[1]))


def name_of(pin: str) -> str:
    return str(canonicalize_name(pin.partition("==")[0]))


def hash_lines(hashes: list[str]) -> list[str]:
    """One line a hash, each but the last to be continued."""
    *lines, last = (f"    --hash=sha256:{value}" for value in hashes)
    return [*(f"{line} \\" for line in lines), last]


def uv(*arguments: str, environment: dict[str, str]) -> None:
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--no-annotate", "--no-header"]
    environment = {**os.environ, **environment, "UV_CONSTRAINT": ""}  # a set is for every machine
    subprocess.run([*command, "--only-binary", ":all:", *arguments], cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
