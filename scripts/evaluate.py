"""Evaluate a stage's merged model and judge its gate.

`python scripts/evaluate.py stage=1` is the same as `python -m cai_bootstrap evaluate stage=1`.
"""

import sys

from cai_bootstrap.__main__ import main

sys.exit(main(["evaluate", *sys.argv[1:]]))
