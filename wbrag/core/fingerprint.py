"""Configuration fingerprints: short hashes of the settings that decide a result.

A setting that came after `RECORDED` counts only where it is not at its default, a prompt file only where it is used:
whatever is added to wbrag, rows that were computed before are found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

# The settings that fingerprints of version 0.1 hold at any value, by section. Nothing is ever added here.
RECORDED = {
    "ChecksConfig": "enabled policy nli_model grounding round_trip novelty conflict min_trust source_trust ttl_days",
    "EnrichConfig": "top_k tau_s tau_delta tau_doc n_min gate_metric distiller max_sentences fallback_sentences "
    "max_unit_tokens record round_trip lossless_skip",
    "FlareConfig": "preset theta beta query question_in_query look_ahead_tokens max_rounds",
    "IterRetgenConfig": "rounds",
    "PlannerConfig": "max_sub_questions",
    "ReplugConfig": "level temperature top_logprobs",
    "RetrievalConfig": "top_k max_writeback_share displace_sources",
    "SelfRagConfig": "threshold w_rel w_sup w_use",
}
# Members that the default of a recorded list got later: as the default it counts as it was recorded.
LATER_MEMBERS = {"ChecksConfig": {"enabled": ("dissent",)}}


def fingerprint(*parts: Any) -> str:
    """A short hash of settings, models or plain values; equal inputs give equal names on every machine."""
    plain = [deciding(part) if isinstance(part, BaseModel) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def deciding(section: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """The section's settings by name, as JSON: all that are recorded, and later ones that are not at their default."""
    recorded = RECORDED.get(type(section).__name__, "").split()
    found: dict[str, Any] = {}
    for name, value in section.model_dump(mode="json", exclude=set(exclude)).items():
        given = getattr(section, name)
        if name in recorded or given != type(section).model_fields[name].get_default(call_default_factory=True):
            found[name] = deciding(given) if isinstance(given, BaseModel) else value
    for name, later in LATER_MEMBERS.get(type(section).__name__, {}).items():
        if name in found and getattr(section, name) == type(section).model_fields[name].default:
            found[name] = [member for member in found[name] if member not in later]
    return found
