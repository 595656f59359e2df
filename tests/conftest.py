"""Settings for every test, and which tests share a process."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# The suite shares two cores with engines and indexes; a slow example says nothing about the code.
settings.register_profile("wbrag", deadline=None, max_examples=50)
settings.load_profile("wbrag")

pytest_plugins = (
    "tests.support.engine",
    "tests.support.fixtures",
    "tests.support.hosts",
    "tests.support.publishing",
)
SHARED = ("on_ray", "engine")  # fixtures so dear that all who use one are in one process

os.environ.setdefault("RAY_enable_worker_prestart", "0")  # Ray starts no process before it is needed
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` leaves it, and children would inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: the tests of a file stay in one process, and so do all that share something dear."""
    for item in items:
        used = list(getattr(item, "fixturenames", ()))
        if hasattr(item, "callspec"):
            used.append(item.callspec.params.get("host"))
        item.add_marker(pytest.mark.xdist_group(next((name for name in SHARED if name in used), item.path.stem)))
