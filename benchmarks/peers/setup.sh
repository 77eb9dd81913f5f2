#!/usr/bin/env bash
# The peers' own environment, .venv-peers: vLLM built for the CPU, and distilabel with TRL and PEFT. Pins what
# constraints/cpu.txt pins, so that both sides run the same torch, transformers, TRL and PEFT.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv="${1:-.venv-peers}"
[ -x "$venv/bin/python" ] || .venv/bin/python -m venv "$venv"
"$venv/bin/python" -m pip install --disable-pip-version-check -q -c constraints/cpu.txt \
  torch transformers trl peft datasets accelerate "distilabel==1.5.3" setuptools
scripts/setup_vllm.sh "$venv"
