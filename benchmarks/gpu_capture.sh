#!/usr/bin/env bash
# Measures a capture on a GPU (benchmarks/gpu_capture.py says what), on a machine that has torch and transformers and no network.
#
#   bash benchmarks/gpu_capture.sh wheels    where there is a network: puts what such a machine lacks into .gpu_wheels (not in git)
#   bash benchmarks/gpu_capture.sh           on the machine, with the checkout and .gpu_wheels: measures, under four minutes on a GPU
#
# Without a GPU it runs to its end at toy size. PYTHON: the interpreter (python3). GPU_PYTHON: the version of the machine (3.12).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=.gpu_wheels
lacking='annotated-types|filelock|pydantic|pydantic_core|ruamel\.yaml|typing-inspection'

if [ "${1:-}" = wheels ]; then
    rm -rf "$wheels"
    mkdir "$wheels"
    grep -E "^($lacking)==" requirements.txt > "$wheels/pins.txt"
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "${GPU_PYTHON:-3.12}" --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        -d "$wheels" -r "$wheels/pins.txt"
    du -sh "$wheels"
    exit
fi

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if ! "$python" -c 'import pydantic, ruamel.yaml; from filelock import SoftFileLease' 2>/dev/null; then
    [ -d "$wheels" ] || { echo "$wheels is missing: run 'bash benchmarks/gpu_capture.sh wheels' where there is a network" >&2; exit 1; }
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
fi
export PYTHONPATH="$PWD/src:$site${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
"$python" -m benchmarks.gpu_capture "$@"
