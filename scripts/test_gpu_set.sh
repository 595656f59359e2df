#!/usr/bin/env bash
# The GPU set on a machine that needs no GPU: installed from requirements/gpu.txt into build/gpu-set, some 11 GB, and
# tried as far as that goes. Imports, versions and settings of vLLM's own package, what an engine says without a GPU, and
# the unit tests with faiss-gpu. `make test-gpu-set`
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=build/gpu-set
stamp=$(cat requirements/gpu.txt pyproject.toml | sha256sum)
if [[ $stamp != "$(cat $environment/.stamp 2>/dev/null)" ]]; then
    rm -rf $environment
    "${PYTHON:-python3.11}" -m venv $environment
    $environment/bin/python -m pip --no-input --disable-pip-version-check --quiet install -r requirements/uv.txt
    told=$($environment/bin/python scripts/uv_env.py)
    eval "$told"
    unset UV_FIND_LINKS UV_CONSTRAINT # a folder of CPU wheels would be taken for torch's CUDA build
    time $environment/bin/uv --quiet pip install --python $environment/bin/python --no-deps --only-binary :all: \
        -r requirements/gpu.txt
    $environment/bin/uv --quiet pip install --python $environment/bin/python --no-deps --no-build-isolation -e .
    echo "$stamp" >$environment/.stamp
fi
export CUDA_VISIBLE_DEVICES=
$environment/bin/uv pip check --python $environment/bin/python
$environment/bin/python scripts/gpu_set.py
# Without the docs' pictures, and without doctor's verdict on this machine, which here rightly is that a GPU is missing.
$environment/bin/python -m pytest -q -p no:cacheprovider tests/unit -m "not slow and not drill" --ignore tests/unit/docs \
    --deselect tests/unit/cli/test_doctor.py::test_this_environment_has_what_the_defaults_need
