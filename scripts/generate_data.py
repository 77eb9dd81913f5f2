"""Write a stage's training pairs and stop there.

`python scripts/generate_data.py stage=1` is the same as `python -m cai_bootstrap data stage=1`.
"""

import sys

from cai_bootstrap.__main__ import main

sys.exit(main(["data", *sys.argv[1:]]))
