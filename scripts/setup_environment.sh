#!/usr/bin/env bash
# The same as `make setup`: creates .venv and installs the pinned dependencies.
set -euo pipefail
exec make -C "$(dirname "$0")/.." setup "$@"
