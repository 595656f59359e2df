"""Settings for every test."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# The suite shares two cores with engines and indexes; a slow example says nothing about the code. A lane draws the same
# examples each time, so that it is red for what changed; HYPOTHESIS_PROFILE=search looks for new ones. Examples also
# take constants from the modules that a worker happens to have loaded, so how large they are is luck, and no failure.
_LUCK = [HealthCheck.data_too_large, HealthCheck.too_slow]
settings.register_profile("wbrag", deadline=None, max_examples=50, derandomize=True, suppress_health_check=_LUCK)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "wbrag"))

pytest_plugins = (
    "tests.support.engine",
    "tests.support.fixtures",
    "tests.support.hosts",
    "tests.support.publishing",
)

os.environ.setdefault("RAY_enable_worker_prestart", "0")  # Ray starts no process before it is needed
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` leaves it, and children would inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
