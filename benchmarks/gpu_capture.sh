#!/usr/bin/env bash
# Measures a capture on a GPU (benchmarks/gpu_capture.py says what), on a machine that has torch and transformers and no network.
#
#   bash benchmarks/gpu_capture.sh wheels    where there is a network: puts what such a machine lacks into .gpu_wheels (not in git)
#   bash benchmarks/gpu_capture.sh           on the machine, with the checkout and .gpu_wheels: measures, under four minutes on a GPU
#
# Without a GPU it runs to its end at toy size. PYTHON: the interpreter (python3). GPU_PYTHON: the version of the machine (3.12).
lacking='annotated-types|filelock|pydantic|pydantic_core|ruamel\.yaml|typing-inspection'
imports='import pydantic, ruamel.yaml; from filelock import SoftFileLease'
. "$(dirname "$0")/gpu.sh"
"$python" -m benchmarks.gpu_capture "$@"
