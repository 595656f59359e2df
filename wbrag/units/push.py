"""Push: the units of a release, into the collection of an outside store.

Afterwards the collection holds exactly that release's units, and those of no other.
"""

from __future__ import annotations

from typing import Any

from wbrag.core.errors import UsageError, WbragError
from wbrag.retrieval.external import Collection, is_external, open_store
from wbrag.units.layout import Layout
from wbrag.units.release_contents import release_ids
from wbrag.units.releases import Release


def push(layout: Layout, release: Release) -> dict[str, Any]:
    """Make the collection hold exactly the units of `release`; says what that changed."""
    if not is_external(layout.config):
        raise UsageError("expected an outside store to push to, found wbrag's own index: set retriever.kind")
    collection = open_store(layout.config.retriever)
    if not isinstance(collection, Collection):
        raise UsageError(
            f"expected a store that holds units, found {layout.config.retriever.kind!r} without `held` and `hold`: "
            "give it these, or use `wbrag export units`"
        )
    wanted = release_ids(layout, release)
    units = layout.shelf.read(wanted)
    if missing := len(wanted) - len(units):
        raise WbragError(f"expected every unit of {release.id} on the shelf, found {missing} missing: publish again")
    before = collection.held()
    collection.hold(release, units)
    added, removed = len(wanted - before.ids), len(before.ids - wanted)
    return {"release": release.id, "before": before.release, "units": len(units), "added": added, "removed": removed}


def push_if_configured(layout: Layout, release: Release) -> Release:
    """`release`, pushed where the setting `retriever.push` asks for it."""
    if is_external(layout.config) and layout.config.retriever.push:
        try:
            push(layout, release)
        except WbragError as error:
            raise WbragError(f"release {release.id} stands, but its units were not pushed: {error}") from None
    return release
