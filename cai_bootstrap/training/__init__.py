"""Preference training: TRL trainers on ids, batches and checkpoints of our own."""

import logging

# On import it warns of a kernel that it would fetch from the network, which training must not use (see `trainer`).
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
