#!/usr/bin/env bash
# Makes .venv from a set of requirements/ and installs the project into it, once: a second run only compares two stamps.
#
#     scripts/setup.sh [cpu|gpu]    default: the set that .venv was made from, else cpu
#
# PYTHON=/path/to/python picks the interpreter. Packages come from where pip and uv are configured to look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

set=${1:-$(cat .venv/.set 2>/dev/null || echo cpu)}
requirements=requirements/$set.txt
torch_index=https://download.pytorch.org/whl/cpu
log=.venv/setup.log

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

install() {
    # Compiled here, as pip does: where PYTHONDONTWRITEBYTECODE is set, every process would compile all that it imports.
    .venv/bin/uv --no-progress pip install --python .venv/bin/python --no-deps --compile-bytecode "$@" >>"$log" 2>&1
}

install_failed() { # show what pip or uv said last, without pip's remarks on this machine's configuration
    grep -vE '^WARNING: Location|^Looking in |^\[notice\]|^$' "$log" | tail -n 12 | cut -c 1-300 | sed 's/^/    /' >&2 || true
    fail "could not install $1; the whole log is in $log"
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

[[ $set == cpu || $set == gpu ]] || fail "expected the set cpu or gpu, found $set: run scripts/setup.sh cpu or gpu"
packages=$({ pwd && cat "$requirements" requirements/torch-cpu.txt; } | sha256sum) # a virtual environment cannot be moved
project=$(sha256sum <pyproject.toml)

if [[ $packages != "$(cat .venv/.packages 2>/dev/null)" ]]; then
    [[ $(uname -sm) == "Linux x86_64" ]] ||
        fail "expected Linux on x86_64, found $(uname -sm): vLLM has no wheel for it, use a container or a Linux machine"
    python=$(find_python)
    rm -rf .venv
    size=$([[ $set == cpu ]] && echo "about a minute and 3.5 GB" || echo "a few minutes and 15 GB")
    echo "Installing $(grep -c '==' "$requirements") packages into .venv, $size ..."
    "$python" -m venv .venv >/dev/null ||
        fail "$python could not make .venv: it may lack the venv module (Debian, Ubuntu: apt-get install python3-venv)"
    echo "$set" >.venv/.set

    .venv/bin/python -m pip --no-input --disable-pip-version-check install --require-hashes -r requirements/uv.txt \
        >>"$log" 2>&1 || install_failed "uv (requirements/uv.txt)"
    told=$(.venv/bin/python scripts/uv_env.py) || fail "could not read pip's configuration: see what pip config list says"
    eval "$told"
    mkdir -p "${UV_CACHE_DIR:=${XDG_CACHE_HOME:-${HOME:-/}/.cache}/uv}" 2>/dev/null || export UV_NO_CACHE=1

    # torch first and alone: CUDA builds share its name, so its index is asked for nothing else.
    if [[ $set == cpu ]] && ! install --only-binary :all: -r requirements/torch-cpu.txt; then
        install --only-binary :all: -r requirements/torch-cpu.txt --default-index "$torch_index" ||
            install_failed "torch's CPU build, neither from the configured indexes nor from $torch_index"
    fi
    # Not --require-hashes, which refuses a machine's own constraints; uv compares every hash that is there.
    install --only-binary :all: -r "$requirements" || install_failed "$requirements"
    echo "$packages" >.venv/.packages
fi

if [[ $project != "$(cat .venv/.project 2>/dev/null)" ]]; then
    install --no-build-isolation --editable . || install_failed "the project itself"
    .venv/bin/python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        fail "vLLM needs libnuma.so.1, and this machine has none (Debian, Ubuntu: apt-get install libnuma1)"
    echo "$project" >.venv/.project
fi
