"""A model folder given by the user or fetched from the hub: what is checked before anything in it is loaded."""

from __future__ import annotations

import errno
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INDEX = "model.safetensors.index.json"


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises UserError for an adapter, remote code, quantised weights, or no valid file."""
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{folder} holds an adapter, not a model: merge it into its base first, and give that folder")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} has no config.json: write the folder of a model saved by save_pretrained") from None
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is not valid JSON ({error}): get the file again") from error
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.json'} is not a JSON object: get the file again")
    if "auto_map" in config:
        raise UserError(f"{folder} needs code of its own (auto_map), which is never run: use a model built into transformers")
    if "quantization_config" in config:
        raise UserError(f"{folder} is quantised, and a merge needs plain weights: give the model it was made from")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the model. Raises UserError where there are none, pickles among them."""
    if (folder / INDEX).exists():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / INDEX} is damaged ({type(error).__name__}): get the file again") from error
        # A name comes from data: it may not lead out of the folder.
        wrong = [n for n in names if Path(n).name != n or not n.endswith(".safetensors") or not (folder / n).is_file()]
        if wrong or not names:
            raise UserError(f"{folder / INDEX} names files that are not beside it ({wrong[:3]}): get the model again")
        return [folder / name for name in names]
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{folder} has pickled weights only ({pickles[0]}), and loading a pickle can run code: "
            "give a folder with safetensors (in the tool that made it: save_pretrained with safetensors)"
        )
    raise UserError(f"{folder} has no model.safetensors: write the folder of a model saved by save_pretrained")


def num_weights(path: Path) -> int:
    """Number of weights by the file's header, which is checked against the file's size (safetensors format)."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError(f"the header says {length} bytes, the file has {size}")
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max(int(entry["data_offsets"][1]) for entry in tensors)
        if 8 + length + end != size:
            raise ValueError(f"the header says {8 + length + end} bytes, the file has {size}")
        total = 0
        for entry in tensors:
            count = 1
            for dimension in entry["shape"]:
                count *= int(dimension)
            total += count
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path} is a damaged safetensors file ({reason}): get the file again") from error
    return total


def tokenizer_files(folder: Path) -> list[Path]:
    """The tokenizer's files in `folder`, in a fixed order; empty when there are none."""
    names = (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "tokenizer.model",
        "vocab.json",
        "merges.txt",
    )
    return [folder / name for name in names if (folder / name).is_file()]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, without remote code. Raises UserError when it is missing or damaged."""
    from transformers import AutoTokenizer

    if not tokenizer_files(folder):
        raise UserError(f"{folder} has no tokenizer.json: put the model's tokenizer files beside its weights")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (ValueError, KeyError, TypeError, OSError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the tokenizer in {folder} cannot be read ({reason}): get its files again") from error
    return tokenizer


def link(source: Path, target: Path) -> None:
    """Give `source` a second name `target`, or copy it where the file system cannot. Raises OSError."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        # Another file system, or one without hard links.
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, target)


def download(hub_id: str, revision: str | None, progress_line: Callable[[str], None]) -> Path:
    """The local folder of a hub model's safetensors and tokenizer. Raises UserError when it cannot be fetched."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    progress_line(f"fetching {hub_id} from the hub (safetensors only)")
    patterns = ["*.safetensors", "*.json", "tokenizer.model", "merges.txt"]
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"model.hub_id={hub_id!r} could not be fetched ({type(error).__name__}: {reason}): check the name and the "
            "network, or write model=path model.path=DIR for a local copy"
        ) from error
