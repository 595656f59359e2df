"""The two ways a wbrag command ends badly."""


class WbragError(Exception):
    """The job cannot go on: one sentence that says what was expected, what was found, what to do (exit 1)."""


class UsageError(WbragError):
    """The request itself is wrong: an unknown name, option or config key (exit 2)."""


class PromptRefused(WbragError):
    """A prompt that the model's endpoint turns down; another may pass."""


class PromptTooLong(PromptRefused):
    """A prompt that the model has no room for."""


def unknown(kind: str, name: str, known: list[str]) -> UsageError:
    """A `UsageError` that names the right choices and, where one is near, the likely one."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {name!r}: {hint}expected one of {', '.join(sorted(known))}")
