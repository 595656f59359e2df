"""Diagnosis page: one self-contained HTML page, and the same figures as JSON beside it."""

from __future__ import annotations

import json

from wbrag.core.io.files import Location, write_atomically
from wbrag.evaluation.diagnosis.diagnose import Diagnosis
from wbrag.evaluation.report import plots
from wbrag.evaluation.report.page import environment, write_html
from wbrag.evaluation.report.provenance import hardware
from wbrag.evaluation.report.wording import count, diagnosed
from wbrag.evaluation.strata import STRATA
from wbrag.units.releases import now


def write_diagnosis(found: Diagnosis, path: Location) -> None:
    """Write the page to `path` and its figures beside it, each whole or not at all."""
    write_html(path, render(found))
    write_atomically(
        path.parent / f"{path.name.removesuffix('.html')}.json", json.dumps(found.to_json(), indent=1) + "\n"
    )


def render(found: Diagnosis) -> str:
    made = {
        "Questions": f"{count(found.n)} of {found.examples}"
        + (f", {count(found.failed)} failed" if found.failed else ""),
        "Model": found.model,
        "Method": found.method,
        "Encoder": found.encoder,
        "Hardware": hardware(),
        "Made": now(),
    }
    page = environment().get_template("diagnosis.html.j2")
    return page.render(found=found, headline=diagnosed(found), plots=plots, made=made, strata=STRATA).lstrip() + "\n"
