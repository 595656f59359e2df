"""Suite runner: from a suite file, or a part of it, to its report.

Figures are written after every cell, so that a killed run keeps what it has; the page comes at the end. A part adds its
cells to those that are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wbrag.core.config import Config
from wbrag.core.errors import UsageError, unknown
from wbrag.core.io.files import Location
from wbrag.core.model_sections import EncoderConfig, Section
from wbrag.core.train_sections import TrainConfig
from wbrag.enrich.scores import SCORING
from wbrag.evaluation.bench.figures import Bench, check_same, joined
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
    _check_settings(wanted, runner.config)
    train = TrainConfig(**{**runner.config.train.model_dump(), **wanted.train})
    own = runner.varied(train=dict(train)) if wanted.train else runner
    if not wanted.encoder:
        return _run(own, whole, wanted, data, runner.close)
    runner.close()
    encoder = EncoderConfig(**{**own.config.encoder.model_dump(), **wanted.encoder})
    config = own.config.model_copy(update={"encoder": encoder})
    with Runner(Layout(runner.layout.path, config), progress=runner.progress) as other:
        return _run(other, whole, wanted, data, other.close)


def _part(suite: Suite, sets: Sequence[str], models: Sequence[str]) -> Suite:
    chosen = {}
    for kind, names in (("sets", sets), ("models", models)):
        known = getattr(suite, kind)
        for name in names:
            if name not in known:
                raise unknown(f"{kind.removesuffix('s')} of the suite", name, list(known))
        chosen[kind] = {name: found for name, found in known.items() if not names or name in names}
    return suite.model_copy(update=chosen)


def _run(runner: Runner, whole: Suite, wanted: Suite, data: str | Location | None, close: Callable[[], None]) -> Bench:
    prepare(runner, wanted, data)
    if any(any(sections.values()) for sections in wanted.settings.values()):
        close()  # each model opens a session of its own, and needs the GPUs

    def configured(settings: Sections) -> Config:
        changed = {name: _changed(getattr(runner.config, name), own) for name, own in settings.items() if own}
        return runner.config.model_copy(update=changed)

    def opened(settings: Sections) -> Runner:
        if not any(settings.values()):
            return runner
        return Runner(Layout(runner.layout.path, configured(settings)), progress=runner.progress)

    configs = {name: configured(settings) for name, settings in wanted.settings.items()}
    for config in configs.values():
        asyncio.run(check(config, _needs(wanted, config)))
    made, folder = _provenance(whole, runner, configs), runner.layout.path / "reports" / "suites"
    before, file = None, folder / f"{whole.name}.json"
    if wanted != whole and file.is_file():
        before = read_bench(file)
        check_same(before, made, str(file))
        made["generators"] = before.made["generators"] | made["generators"]
    for part in run_grid(wanted, opened, made):
        bench = joined(before, part)
        write_figures(bench, folder)
    write_report(bench, folder)
    return bench


def _changed(section: Section, settings: dict[str, Any]) -> Section:
    return type(section)(**{**section.model_dump(), **settings})


def _check_settings(suite: Suite, config: Config) -> None:
    metric = config.enrich.gate_metric
    if suite.needs_all_scores and metric in SCORING:
        raise UsageError(
            f"expected gates decided by labels in a suite with studies, found enrich.gate_metric {metric}: "
            "leave it at task, and name the other among the studies' gate_metric"
        )
    if config.retrieval.displace_sources:
        raise UsageError(
            "expected retrieval.displace_sources off in a suite, found it on: it knows the units of the shelf alone"
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
        "encoder": f"{config.encoder.model} {encoder_fingerprint(config.encoder)}",
        "corpus": runner.layout.corpus_fingerprint(),
        "settings": config.model_dump(mode="json", exclude_defaults=True, exclude={"workspace"}),
        "suite": suite.model_dump(mode="json", exclude_defaults=True),
    }


def _needs(suite: Suite, config: Config) -> set[Needs]:
    """What the models must be able to do, found out before hours of work."""
    asked = {SCORING[metric] for metric in suite.studies.gate_metric if metric in SCORING}
    return asked | {needs(method, config.methods) for method in suite.methods}
