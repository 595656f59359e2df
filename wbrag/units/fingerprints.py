"""Fingerprints of examinations: what one depended on, so that a change of any of it makes the unit be checked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from wbrag.core.fingerprint import deciding, fingerprint
from wbrag.core.io.files import model_contents
from wbrag.core.types import Passage, Unit, content_hash
from wbrag.retrieval.external import state as store_state
from wbrag.units.layout import Layout

CHECKS_VERSION = 2  # raised whenever the checks would find something else under the same settings


class Fingerprints:
    """Of units as they, their sources, the settings and the approved units are now."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @cached_property
    def common(self) -> str:
        """What all examinations depend on: the settings, the base, and what stands."""
        c, states = self.layout.config.checks, self.layout.decisions.states()
        stands = content_hash(" ".join(sorted(id for id, state in states.items() if state == "approved")))
        model = Path(c.nli_model).expanduser() if c.nli_model else None
        nli = model_contents(model) if model and model.is_dir() else c.nli_model
        settings = deciding(c, exclude=("policy", "ttl_days", "nli_model", "source_share"))
        state = store_state(self.layout.config)
        return fingerprint(CHECKS_VERSION, settings, nli, self.layout.base_row()[1], *state, stands)

    def of(self, units: Sequence[Unit], passages: Mapping[str, Passage] | None = None) -> dict[str, str]:
        """The fingerprint of each unit, by its id; `passages` where their sources were looked up before."""
        if not units:
            return {}
        if passages is None:
            passages = self.layout.passages({id for unit in units for id, _ in unit.sources})

        def tag(unit: Unit) -> str:
            present = [passages[id] for id, _ in unit.sources if id in passages]
            rows = [(p.content_hash, p.source, p.trust, p.updated_at) for p in present]
            heard = [list(said) for said in unit.witnesses]
            return fingerprint(self.common, unit.sources, unit.evidence, unit.scores, rows, *([heard] if heard else ()))

        return {unit.id: tag(unit) for unit in units}
