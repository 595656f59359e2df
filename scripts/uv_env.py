"""pip's configuration as environment variables of uv, which reads none of pip's: `eval "$(python scripts/uv_env.py)"`.

Only what pip is told of where packages come from is handed over, and what is set for uv already wins.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys

# pip's option, uv's variable (and its older names), and what stands between several values
VARIABLES = {
    "index-url": (("UV_DEFAULT_INDEX", "UV_INDEX_URL"), ""),
    "extra-index-url": (("UV_INDEX", "UV_EXTRA_INDEX_URL"), " "),
    "find-links": (("UV_FIND_LINKS",), ","),
    "constraint": (("UV_CONSTRAINT",), " "),
    "trusted-host": (("UV_INSECURE_HOST",), " "),
    "timeout": (("UV_HTTP_TIMEOUT",), ""),
    "cert": (("SSL_CERT_FILE",), ""),
    "client-cert": (("SSL_CLIENT_CERT",), ""),
    "proxy": (("ALL_PROXY",), ""),
}


def pip_options() -> dict[str, str]:
    """pip's options as `pip install` would use them: its environment over [install] over [global] of its files."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found: dict[tuple[str, str], str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        found[section, option.removeprefix("default-")] = str(ast.literal_eval(value))
    sections = ("global", "install", ":env:")
    return {option: value for chosen in sections for (section, option), value in found.items() if section == chosen}


def uv_variables() -> dict[str, str]:
    """What uv must be told beyond its own environment."""
    options, told = pip_options(), {}
    for option, (names, joiner) in VARIABLES.items():
        if options.get(option) and not any(name in os.environ for name in names):
            told[names[0]] = joiner.join(options[option].split()) if joiner else options[option]
    if "UV_INDEX" in told:  # as pip does, which takes a version from whichever index has it
        told |= {} if "UV_INDEX_STRATEGY" in os.environ else {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        told["UV_OFFLINE"] = "1"  # uv has no variable for --no-index; folders are read all the same
    return told


if __name__ == "__main__":
    for name, value in uv_variables().items():
        print(f"export {name}={shlex.quote(value)}")
