"""Reader training: exercises out of question sets, a LoRA adapter out of exercises, and how the model reads with it.

The adapter is a folder below `readers/`, named by its contents, with what it was made of and all that it has seen.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, WbragError
from wbrag.core.fingerprint import fingerprint
from wbrag.core.io.files import Location, cache_folder, folder_in_one_step, write_atomically
from wbrag.core.model_sections import GeneratorConfig
from wbrag.core.progress import bar
from wbrag.executor.fitting import fitted
from wbrag.executor.learners import absolute
from wbrag.executor.readings import Apart, Drawn, archive, drawn, parts, readings
from wbrag.executor.runner import Runner
from wbrag.generators import generator_fingerprint
from wbrag.generators.hub import pinned
from wbrag.generators.lora import contents, keep
from wbrag.training.adapter import Curves
from wbrag.training.course import ReadingCourse, need_packages
from wbrag.training.exercises import SHARES, Exercise, Reading, Taught, exercise
from wbrag.training.fit import Learned
from wbrag.training.quality import Quality, measure
from wbrag.training.reader import fitting
from wbrag.units.layout import Layout
from wbrag.units.releases import now

log = logging.getLogger(__name__)
FEWEST = 100  # exercises: fewer change the form of answers at most
STOPPING = 100  # exercises that say when to stop: more cost more than they tell
RECORD, SEEN = "reader.json", "seen.json"


@dataclass(frozen=True)
class ReaderResult:
    """What was trained from what, how it learned, and how the model reads without it and with it."""

    name: str
    folder: Location
    made: dict[str, Any]
    curves: Curves
    epoch: float
    before: list[Quality]
    after: list[Quality]


@dataclass(frozen=True)
class _Lessons:
    """Exercises to learn from and to stop by, and readings to measure on."""

    taught: list[Exercise]
    stopping: list[Exercise]
    held_out: list[Reading]


def train_reader(
    runner: Runner, examples: Sequence[str], *, apart: Sequence[str] = (), measured: Sequence[str] = ()
) -> ReaderResult:
    """Teach `generator.model` to read by questions of NAME/SPLIT ..., but of none that is kept `apart`.

    Quality is measured on `measured`, else on a fifth of the passages that it never sees. Raises `UsageError` before
    any work where the model or a package cannot be trained with, `WbragError` where too few questions teach.
    """
    need_packages("peft", "trl")
    c = runner.config
    if c.generator.backend != "vllm" or c.generator.adapter:
        found = "generator.backend openai" if c.generator.backend != "vllm" else "generator.adapter set"
        raise UsageError(f"expected a model of wbrag's own engine as it is, to teach it, found {found}: change that")
    lessons = _lessons(runner, examples, apart, measured)
    learned = _fit(runner, lessons)
    kinds = [one.kind for one in lessons.taught]
    made = {
        "examples": list(examples),
        "apart": list(apart),
        "measured": list(measured),
        "model": c.generator.model,
        "generator": generator_fingerprint(c),
        "prompts": runner.layout.prompt_version(),
        "settings": c.train.reader.model_dump(mode="json"),
        "seed": c.seed,
        "exercises": {kind: kinds.count(kind) for kind in SHARES if kind in kinds},
        "epoch": learned.epoch,
        "created_at": now(),
    }
    folder = _kept(runner, learned, c.generator.model, [*lessons.taught, *lessons.stopping])
    before, after = (_quality(runner, adapter, lessons.held_out) for adapter in (None, str(folder)))
    result = ReaderResult(folder.name, folder, made, learned.curves, learned.epoch, before, after)
    write_atomically(folder / RECORD, json.dumps(record(result), indent=1) + "\n")
    shutil.rmtree(learned.folder.parent, ignore_errors=True)
    return result


def record(found: ReaderResult) -> dict[str, Any]:
    """Everything about it but its weights."""
    quality = {
        name: [one._asdict() for one in part] for name, part in (("before", found.before), ("after", found.after))
    }
    curves = {"taught": found.curves.taught, "stopping": found.curves.stopping}
    return {"name": found.name, **found.made, "curves": curves, "quality": quality}


def _lessons(runner: Runner, examples: Sequence[str], apart: Sequence[str], measured: Sequence[str]) -> _Lessons:
    c, settings, seed = runner.config, runner.config.train.reader, runner.config.seed
    held = Apart.of([e for name in (*apart, *measured) for e in runner.layout.examples(name)])
    own = round(settings.exercises * (1 - settings.archive))
    with bar("looking up what is read", shown=runner.progress) as update:
        found = readings(runner, drawn(runner, examples, held, own, seed), held)
        update(1, 2)
        asked = [Drawn(name, e) for name in measured for e in runner.layout.examples(name, settings.measured)]
        measured_on = readings(runner, asked, Apart.of([])) if asked else []
        update(2, 2)
    taught, stopping, held_out = parts(found + archive(settings.exercises - own, seed), seed)
    if measured:
        taught, held_out = taught + held_out, measured_on
    made = [[one for r in part if (one := exercise(r, seed, c.prompts_dir))] for part in (taught, stopping)]
    kept = [fitting(part, c.generator, settings.max_tokens) for part in made]
    if left := sum(map(len, made)) - sum(map(len, kept)):
        log.warning("%d exercises are left out: they are longer than %d tokens", left, settings.max_tokens)
    if len(kept[0]) < FEWEST or not kept[1] or not held_out:
        raise WbragError(
            f"expected at least {FEWEST} questions that their gold passages answer within train.reader.max_tokens, and "
            f"some more to stop by and to measure on, found {len(kept[0])}, {len(kept[1])} and {len(held_out)}: "
            "name more sets, keep fewer apart, or raise it"
        )
    return _Lessons(kept[0], kept[1][:STOPPING], held_out[: settings.measured * max(1, len(measured))])


def _fit(runner: Runner, lessons: _Lessons) -> Learned:
    """Trained in a folder named by what is learned, which a killed training goes on from."""
    c = runner.config
    own = absolute(pinned(c.generator))  # one commit for all nodes
    course = ReadingCourse(own, c.train.reader, c.seed, Taught.of(lessons.taught), Taught.of(lessons.stopping))
    made_of = (generator_fingerprint(c), own.revision, c.train.reader, c.seed)
    name = fingerprint("reader", *made_of, asdict(course.taught), asdict(course.stopping))
    with bar("teaching the reader", shown=runner.progress) as update:
        return fitted(runner, course, cache_folder() / "training" / name, update)


def _kept(runner: Runner, learned: Learned, model: str, shown: Sequence[Exercise]) -> Location:
    """The adapter below `readers/`, beside the ids of all questions and passages that it has seen."""
    questions = {of: sorted({one.question_id for one in shown if one.of == of}) for of in sorted({x.of for x in shown})}
    seen = {"questions": questions, "passages": sorted({id for one in shown for id in one.seen})}
    with tempfile.TemporaryDirectory() as scratch:
        keep(learned.folder, Path(scratch), model)
        (Path(scratch) / SEEN).write_text(json.dumps(seen, indent=0) + "\n", encoding="utf-8")
        place = runner.layout.path / "readers" / f"reader-{fingerprint(contents(scratch))}"
        with folder_in_one_step(place) as folder:
            for file in Path(scratch).iterdir():
                shutil.copyfile(file, folder / file.name)  # without the scratch folder's modes, which shut others out
    return place


def _quality(runner: Runner, adapter: str | None, found: Sequence[Reading]) -> list[Quality]:
    settings = GeneratorConfig(**{**runner.config.generator.model_dump(), "adapter": adapter})
    config: Config = runner.config.model_copy(update={"generator": settings})
    runner.session.free_engines()  # of the same GPUs
    with Runner(Layout(runner.layout.path, config), progress=runner.progress) as own:
        generator = own.generator()
        with bar(f"reading {'with' if adapter else 'without'} the adapter", shown=runner.progress) as update:
            return asyncio.run(measure(generator, found, config.seed, config.prompts_dir, update))
