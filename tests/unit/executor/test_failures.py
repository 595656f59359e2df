"""Ray's remote tracebacks become one sentence that names the root cause."""

from __future__ import annotations

import pytest
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from wbrag.core.config import load
from wbrag.core.errors import PromptRefused, WbragError
from wbrag.executor.ray.failures import LESS, in_one_sentence, short_of_memory, translated

TRACE = """ray::MapWorker(Map(_EmbedBlock)).submit() (pid=1, ip=192.0.2.2)
  File "build.py", line 7, in __call__
OSError: [Errno 28] No space left on device

The above exception was the direct cause of the following exception:

ray::MapWorker(Map(_EmbedBlock)).submit() (pid=1, ip=192.0.2.2)
ray.exceptions.UserCodeException: UDF failed to process a data block.
"""


def test_the_root_cause_is_named() -> None:
    said = str(in_one_sentence("the build", RayError(TRACE)))
    assert said == (
        "expected the build to finish, found OSError: [Errno 28] No space left on device; "
        "what was finished is kept, run it again"
    )


def test_our_own_sentence_comes_through_alone() -> None:
    remote = TRACE.replace(
        "OSError: [Errno 28] No space left on device", "wbrag.core.errors.UsageError: expected a, found b"
    )
    assert str(in_one_sentence("the build", RayError(remote))) == "expected a, found b"
    assert str(in_one_sentence("the build", WbragError("expected a, found b"))) == "expected a, found b"


def test_what_ray_data_writes_below_a_sentence_is_left_out() -> None:
    said = WbragError("expected a, found b\nFailed to apply UDF transform after 1/1 attempts (total backoff 0.0s).")
    assert str(in_one_sentence("the build", said)) == "expected a, found b"


def test_any_error_of_ours_is_found_whatever_its_name() -> None:
    refused = PromptRefused("expected a short prompt, found a long one")
    assert in_one_sentence("the build", RayTaskError("f", "Traceback", refused)) is refused
    assert str(in_one_sentence("the build", RayError("x\nwbrag.core.errors.NoAnswer: expected a, found b\n"))) == (
        "expected a, found b"
    )


def test_an_error_without_a_name_still_gives_one_line() -> None:
    assert "\n" not in str(in_one_sentence("the build", RayError("the node\nwent away")))


def test_only_failures_of_ray_are_reworded() -> None:
    with pytest.raises(KeyError), translated("the build"):
        raise KeyError("a mistake of ours")
    wrapped = RayTaskError(
        "f", "wbrag.core.errors.WbragError: expected a, found b\n", WbragError("expected a, found b")
    )
    with pytest.raises(WbragError, match="^expected a, found b$"), translated("the build"):
        raise wrapped.as_instanceof_cause()


OUT = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 6a9e) \
was 22.9GB used / 23.5GB limit (0.97)
Object store memory usage: [- objects spillable: 0
- bytes spillable: 0]
Ray killed 1 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Task: job ID=01000000, lease ID=0f, task name=EngineActor.ask, required resources={CPU: 1}, pid=23)
]
Top 10 memory users: PID	MEM(GB)	COMMAND
"""


def test_memory_pressure_is_one_sentence_that_names_what_was_killed_and_what_to_lower() -> None:
    """As Ray 2.60 words it; its own text is forty lines."""
    said = str(in_one_sentence("the run over 200 rows", OutOfMemoryError(OUT)))
    assert said == (
        "expected memory enough for the run over 200 rows, found that Ray has killed EngineActor.ask, since its node "
        f"had 22.9GB of 23.5GB in use: lower {LESS}; what was finished is kept, run it again"
    )
    assert "short of memory" in str(in_one_sentence("the run", OutOfMemoryError("x")))
    assert short_of_memory(RayError("the node went away")) == ""
    gpu = WbragError("expected vLLM to start on model 'm', found OutOfMemoryError: CUDA out of memory")
    assert in_one_sentence("the start of an engine", RayTaskError("start", f"…{gpu}", gpu)) is gpu, "a GPU's is its own"
    settings = load().model_dump()
    for name in LESS.replace(" or ", ", ").split(", "):
        section, _, key = name.partition(".")
        assert key in settings[section], name
