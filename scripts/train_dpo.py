"""Train a stage's adapter on its pairs, merge it, and stop there.

`python scripts/train_dpo.py stage=1` is the same as `python -m cai_bootstrap train stage=1`.
"""

import sys

from cai_bootstrap.__main__ import main

sys.exit(main(["train", *sys.argv[1:]]))
