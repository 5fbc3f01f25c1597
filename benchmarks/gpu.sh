# Read by the other gpu_*.sh: the interpreter and the packages of a machine that has torch and transformers and no network.
#
# `wheels` as the first argument, where there is a network: puts what such a machine lacks into .gpu_wheels (not in git), and ends.
# Else a machine that lacks them installs them from there into a folder of this process.
#
# The script sets `lacking` (names in requirements.txt, a regular expression) and `imports` (Python that fails where one is missing).
# PYTHON: the interpreter (python3). GPU_PYTHON: the version of the machine (3.12).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
wheels=.gpu_wheels

if [ "${1:-}" = wheels ]; then
    rm -rf "$wheels"
    mkdir "$wheels"
    grep -E "^($lacking)==" requirements.txt > "$wheels/pins.txt"
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "${GPU_PYTHON:-3.12}" --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 -d "$wheels" -r "$wheels/pins.txt"
    du -sh "$wheels"
    exit
fi

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if ! "$python" -c "$imports" 2>/dev/null; then
    [ -d "$wheels" ] || { echo "$wheels is missing: run 'bash $0 wheels' where there is a network" >&2; exit 1; }
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
fi
export PYTHONPATH="$PWD/src:$site${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
