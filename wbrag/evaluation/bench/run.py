"""Suite runner: from a suite file, or a part of it, to its report.

Figures are written after every cell, so that a killed run keeps what it has; the page comes at the end. A part adds its
cells to those that are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from typing import Any

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, unknown
from wbrag.core.fingerprint import deciding, fingerprint
from wbrag.core.io.files import Location
from wbrag.core.model_sections import EncoderConfig, Section
from wbrag.core.train_sections import TrainConfig
from wbrag.enrich.scores import SCORING
from wbrag.evaluation.bench.figures import Bench, cell_of, joined
from wbrag.evaluation.bench.grid import Sections, run_grid
from wbrag.evaluation.bench.page import read_bench, write_figures, write_report
from wbrag.evaluation.bench.suite import Suite, load_suite, prepare
from wbrag.evaluation.report.provenance import hardware, versions
from wbrag.executor.runner import Runner
from wbrag.generators import check, generator_fingerprint
from wbrag.methods import Needs, needs
from wbrag.retrieval.encoder import encoder_fingerprint
from wbrag.units.layout import Layout
from wbrag.units.releases import now


def run_suite(
    runner: Runner,
    suite: str | Location,
    data: str | Location | None = None,
    *,
    sets: Sequence[str] = (),
    models: Sequence[str] = (),
) -> Bench:
    """Run the grid of the suite file and write its page to `reports/suites/`; relative paths begin at `data`.

    With `sets` or `models` only these of the suite's run, and their cells replace or join those of earlier runs.
    """
    whole = load_suite(suite)
    wanted = _part(whole, sets, models)
    train = TrainConfig(**{**runner.config.train.model_dump(), **wanted.train})
    own = runner.varied(train=dict(train)) if wanted.train else runner
    if not wanted.encoder:
        return _run(own, whole, wanted, data, runner.close)
    runner.close()
    encoder = EncoderConfig(**{**own.config.encoder.model_dump(), **wanted.encoder})
    config = own.config.model_copy(update={"encoder": encoder})
    with Runner(Layout(runner.layout.path, config), progress=runner.progress) as other:
        return _run(other, whole, wanted, data, other.close)


def dry_run(
    runner: Runner,
    suite: str | Location,
    data: str | Location | None = None,
    *,
    sets: Sequence[str] = (),
    models: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The cells that `run_suite` would work on, with their questions; data is read, no index or model is started."""
    wanted = _part(load_suite(suite), sets, models)
    prepare(runner, wanted, data, index=False)
    found = []
    for model in wanted.settings:
        for name, questions in wanted.sets.items():
            train = len(runner.layout.examples(questions.train, questions.train_limit))
            test = len(runner.layout.examples(questions.test, questions.test_limit))
            for method in wanted.methods_of(name):
                arms = 3 + len(wanted.controls)  # closed book, base and write-back beside them
                cell = {"model": model, "method": method, "set": name, "enriched": train, "questions": test}
                found.append(cell | {"answers": arms * test})
    return found


def _part(suite: Suite, sets: Sequence[str], models: Sequence[str]) -> Suite:
    chosen = {}
    for kind, names in (("sets", sets), ("models", models)):
        known = getattr(suite, kind)
        for name in names:
            if name not in known:
                raise unknown(f"{kind.removesuffix('s')} of the suite", name, list(known))
        chosen[kind] = {name: found for name, found in known.items() if not names or name in names}
    part = suite.model_copy(update=chosen)
    if part != suite and (suite.retrievers or suite.studies.cross):
        found = "retrievers" if suite.retrievers else "studies.cross"
        raise UsageError(
            f"expected a whole run of a suite with {found}, which compare its cells, found a part: run all"
        )
    return part


def _run(runner: Runner, whole: Suite, wanted: Suite, data: str | Location | None, close: Callable[[], None]) -> Bench:
    def configured(settings: Sections) -> Config:
        changed = {name: _changed(getattr(runner.config, name), own) for name, own in settings.items() if own}
        return runner.config.model_copy(update=changed)

    configs = {name: configured(settings) for name, settings in whole.settings.items()}
    for config in configs.values():
        _check_settings(wanted, config)
    prepare(runner, wanted, data)
    if any(wanted.models.values()):
        close()  # each model opens a session of its own, and needs the GPUs
    for name in wanted.settings:
        if not Layout(runner.layout.path, configs[name]).indexed():
            raise UsageError("expected an index with words for retrieval.hybrid, found one without: run `wbrag index`")
        asyncio.run(check(configs[name], _needs(wanted, configs[name])))

    made, folder = _provenance(whole, runner, configs), runner.layout.path / "reports" / "suites"
    before = read_bench(file) if wanted != whole and (file := folder / f"{whole.name}.json").is_file() else None
    with closing(_Opener(runner)) as opener:
        for part in run_grid(wanted, opener, made):
            bench = joined(before, part)
            write_figures(bench, folder)
    write_report(bench, folder)
    return bench


class _Opener:
    """Runners over one workspace: of one model at a time, whose variants share its engines."""

    def __init__(self, runner: Runner) -> None:
        self.runner = self.base = runner
        self.generator: dict[str, Any] = {}

    def __call__(self, settings: Sections) -> Runner:
        if settings["generator"] != self.generator:
            self.base.close()  # the next model needs its GPUs
            self.generator = settings["generator"]
            self.base = self.runner
            if self.generator:
                config = self.runner.config
                config = config.model_copy(update={"generator": _changed(config.generator, self.generator)})
                self.base = Runner(Layout(self.runner.layout.path, config), progress=self.runner.progress)
        more = {name: values for name, values in settings.items() if name != "generator" and values}
        return self.base.varied(**more) if more else self.base

    def close(self) -> None:
        """Stop the engines that were started here; the caller's go on."""
        if self.base is not self.runner:
            self.base.close()


def _changed(section: Section, settings: dict[str, Any]) -> Section:
    return type(section)(**{**section.model_dump(), **settings})


def _check_settings(suite: Suite, config: Config) -> None:
    metric = config.enrich.gate_metric
    if suite.needs_all_scores and metric in SCORING:
        raise UsageError(
            f"expected gates decided by labels in a suite with studies, found enrich.gate_metric {metric}: "
            "leave it at task, and name the other among the studies' gate_metric"
        )
    if config.retrieval.displace_sources and (suite.needs_all_scores or suite.studies.cross or suite.retrievers):
        raise UsageError(
            "expected retrieval.displace_sources off in a suite with studies, retrievers, or controls without a gate, "
            "found it on: what their units displace is not recorded; leave it off, or try it as a variant of another "
            "suite"
        )


def _provenance(suite: Suite, runner: Runner, configs: Mapping[str, Config]) -> dict[str, Any]:
    """What travels with the figures: settings other than the defaults, and the fingerprints of what decides them."""
    config = runner.config
    return {
        "created": now(),
        "hardware": hardware(),
        "versions": versions(),
        "prompts": runner.layout.prompt_version(),
        "seed": config.seed,
        "generators": {name: generator_fingerprint(c) for name, c in configs.items()},
        "cells": _cells(suite, runner, configs),
        "encoder": f"{config.encoder.model} {encoder_fingerprint(config.encoder)}",
        "corpus": runner.layout.corpus_fingerprint(),
        "settings": config.model_dump(mode="json", exclude_defaults=True, exclude={"workspace"}),
        "suite": suite.model_dump(mode="json", exclude_defaults=True),
    }


def _cells(suite: Suite, runner: Runner, configs: Mapping[str, Config]) -> dict[str, str]:
    """Every cell of the suite, with a fingerprint of all that decides its figures; "" where its examples are not here.

    A run of some sets reads those of no other.
    """
    shared = (
        runner.layout.corpus_fingerprint(),
        runner.layout.prompt_version(),
        encoder_fingerprint(runner.config.encoder),
    )
    found = {}

    @cache
    def asked(name: str) -> str:
        there = runner.layout.examples_file(name).is_file()
        return fingerprint([asdict(example) for example in runner.layout.examples(name)]) if there else ""

    def known(set_name: str) -> bool:
        return all(asked(name) for name in suite.named(set_name))

    for model, c in configs.items():
        own = (generator_fingerprint(c), generator_fingerprint(c.for_distiller()), c.seed, c.index.factory)
        sections = [deciding(getattr(c, name)) for name in ("enrich", "retrieval", "rerank", "retriever", "methods")]
        for set_name in suite.sets:
            about = (suite.of_set(set_name), *(asked(name) for name in suite.named(set_name)))
            for method in suite.methods_of(set_name):
                cell = cell_of({"model": model, "method": method, "set": set_name})
                found[cell] = fingerprint(*shared, *own, sections, *about) if known(set_name) else ""
    return found


def _needs(suite: Suite, config: Config) -> set[Needs]:
    """What the models must be able to do, found out before hours of work."""
    asked = {SCORING[metric] for metric in suite.studies.gate_metric if metric in SCORING}
    return asked | {needs(method, config.methods) for method in suite.methods}
