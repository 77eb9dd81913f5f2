"""What a GPU does with models of the sizes that the experiments name: random weights, real training, merging and decoding.

`scripts/gpu_check.sh` is how it is called; `docs/gpu.md` says what its rows mean.
"""
