#!/usr/bin/env bash
# What a GPU does with this package's own code, in under nine minutes; docs/gpu.md says what is measured and what its rows mean.
#   scripts/gpu_check.sh [--wheels DIR] [--device cuda] [--shape 32b,7b] [--json FILE] [--work DIR] [--minutes 8.8]
#   scripts/gpu_check.sh --make-wheels DIR [--python 3.12] [--constraints FILE]
# It takes $PYTHON, else .venv, else python3. The second form needs a package index and no GPU: it downloads into DIR what a
# machine with torch, transformers, PEFT, pandas and pyarrow still lacks, for that machine's Python. --wheels puts them beside its
# packages. What is missing is told before anything is measured.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-}"
if [ -z "$python" ]; then
  python=python3
  if [ -x "$root/.venv/bin/python" ]; then python="$root/.venv/bin/python"; fi
fi
needed=(bitsandbytes datasets dill multiprocess trl xxhash)
max_bytes=60000000

wheels="" target="" version=3.12 words=()
constraints="$root/constraints/unsloth.txt" # its transformers is what images with torch carry: an older one than cpu.txt's
while [ $# -gt 0 ]; do
  case "$1" in
    --wheels | --make-wheels | --python | --constraints)
      if [ $# -lt 2 ]; then echo "gpu_check: $1 needs a value" >&2; exit 2; fi
      case "$1" in
        --wheels) wheels="$2" ;;
        --make-wheels) target="$2" ;;
        --python) version="$2" ;;
        --constraints) constraints="$2" ;;
      esac
      shift 2
      ;;
    *) words+=("$1"); shift ;;
  esac
done

if [ -n "$target" ]; then
  mkdir -p "$target"
  rm -f "$target"/*.whl # two versions of one package would stop the installation
  platforms=(manylinux_2_28_x86_64 manylinux_2_24_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64)
  "$python" -m pip download --disable-pip-version-check -q --no-deps --only-binary=:all: --implementation cp \
    --python-version "$version" "${platforms[@]/#/--platform=}" -c "$constraints" -d "$target" "${needed[@]}"
  wc -c "$target"/*.whl
  bytes="$(cat "$target"/*.whl | wc -c)"
  if [ "$bytes" -gt "$max_bytes" ]; then
    echo "gpu_check: the wheels are $bytes bytes together, $max_bytes may travel: leave out what the machine has" >&2
    exit 1
  fi
  exit 0
fi

site=""
if [ -n "$wheels" ]; then
  if ! compgen -G "$wheels/*.whl" > /dev/null; then
    echo "gpu_check: --wheels='$wheels' has no wheels: make them with --make-wheels $wheels" >&2
    exit 2
  fi
  site="$(mktemp -d)" # the machine's own packages stay as they are
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install --disable-pip-version-check -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" \
    "$wheels"/*.whl
fi
export PYTHONPATH="$root${site:+:$site}${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m benchmarks.gpu.needed "$constraints" "${needed[@]}" # a rented minute is not for finding out what is missing
"$python" -m benchmarks.gpu ${words[@]+"${words[@]}"}
