"""Base models: every source becomes one folder of plain safetensors, config and a tokenizer known to be right."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_bootstrap.config import ModelConfig, ModelSource
from cai_bootstrap.engines import gguf, model_files, tiny
from cai_bootstrap.errors import UserError
from cai_bootstrap.store.files import full_disk
from cai_bootstrap.store.provenance import digest, file_sha256

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLES = (
    "Translate hello into French.\nThe quick  brown fox; it's 3 × 7 = 21!",
    "Instruction: Name the capital of France.\nResponse:",
    "äöü 東京 🎉\n\n\tx = [1, 2]",
)
"""Texts that a tokenizer must give back unchanged."""


@dataclass(kw_only=True)
class _Source:
    """What was read from a source; its weights and config.json are in the target folder already."""

    tokenizer: PreTrainedTokenizerBase
    puts_bos: bool
    context: int
    sha256: str
    warnings: list[str] = field(default_factory=list)


def prepare(model: ModelConfig, target: Path, progress_line: Callable[[str], None]) -> dict[str, Any]:
    """Write `model` as a plain safetensors model with its tokenizer into `target`, an existing empty folder.

    The saved tokenizer has no chat template, and names a BOS exactly where it puts one first. Returns {name, source,
    licence, licence_url, num_parameters, sha256_source, base, warnings}. Raises UserError for a source that is missing,
    damaged, not what its hash says, or unsafe (a pickle, remote code), and DiskFull.
    """
    if not target.is_dir() or any(target.iterdir()):
        raise UserError(f"target={str(target)!r} is not an empty folder: give an existing empty one")
    with _disk_full(target), _quiet():
        if model.source is ModelSource.gguf_package:
            source = _from_package(model, target, progress_line)
        elif model.source is ModelSource.path:
            source = _from_path(_given(model, "path"), target, progress_line, model.sha256)
        elif model.source is ModelSource.hub:
            folder = model_files.download(_given(model, "hub_id"), model.revision, progress_line)
            source = _from_folder(folder, target, model.sha256)
        else:
            tokenizer, context = tiny.build(target)
            source = _Source(tokenizer=tokenizer, puts_bos=True, context=context, sha256="")
        _write_tokenizer(source, target)
        num_parameters = sum(model_files.num_weights(path) for path in sorted(target.glob("*.safetensors")))
        progress_line(f"checking {model.name}: {num_parameters / 1e6:.0f} M parameters")
        source.warnings += _verify(source, target, num_parameters)
        if model.source is ModelSource.tiny_random:
            made = (target / "model.safetensors", target / "tokenizer.json")
            source.sha256 = digest({path.name: file_sha256(path) for path in made})
    return {
        "name": model.name,
        "source": model.source.value,
        "licence": model.licence,
        "licence_url": model.licence_url,
        "num_parameters": num_parameters,
        "sha256_source": source.sha256,
        "base": model.base,
        "warnings": source.warnings,
    }


def _given(model: ModelConfig, key: str) -> str:
    value = getattr(model, key)
    if not value:
        raise UserError(f"model.{key}={value!r} is not valid for model.source={model.source.value}: write model.{key}=…")
    return str(value)


def _from_package(model: ModelConfig, target: Path, progress_line: Callable[[str], None]) -> _Source:
    package = _given(model, "package")
    with gguf.package_file(package, target / ".gguf") as path:
        return _from_gguf(path, target, progress_line, model.sha256, f"package {package}")


def _from_gguf(path: Path, target: Path, progress_line: Callable[[str], None], sha256: str | None, origin: str) -> _Source:
    found = file_sha256(path)
    _check_hash(found, sha256, origin)
    puts_bos = gguf.check(path)
    progress_line(f"dequantising {origin} ({path.stat().st_size / 1e6:.0f} MB) to fp32 safetensors, once")
    tokenizer, context = gguf.dequantise(path, target)
    warnings = [] if sha256 else [f"{origin} was not checked against a known sha256: it has {found}"]
    return _Source(tokenizer=tokenizer, puts_bos=puts_bos, context=context, sha256=found, warnings=warnings)


def _check_hash(found: str, wanted: str | None, origin: str) -> None:
    if wanted and found != wanted.lower():
        raise UserError(
            f"{origin} has sha256 {found}, model.sha256 says {wanted}: get the file again, or write "
            f"model.sha256={found} if this is the one you mean"
        )


def _from_path(given: str, target: Path, progress_line: Callable[[str], None], sha256: str | None) -> _Source:
    path = Path(given).expanduser().resolve()
    if path.is_file() and path.suffix.lower() == ".gguf":
        return _from_gguf(path, target, progress_line, sha256, str(path))
    if not path.is_dir():
        raise UserError(f"model.path={given!r} is not there: write a folder with config.json and safetensors, or a GGUF file")
    return _from_folder(path, target, sha256)


def _from_folder(folder: Path, target: Path, sha256: str | None) -> _Source:
    config = model_files.read_config(folder)
    weights = model_files.weight_files(folder)
    for path in weights:
        model_files.num_weights(path)  # refuses a damaged header before anything is loaded
    files = [folder / "config.json", *weights]
    if (folder / model_files.INDEX).exists():
        files.append(folder / model_files.INDEX)
    tokenizer = model_files.load_tokenizer(folder)
    found = digest({path.name: file_sha256(path) for path in [*files, *model_files.tokenizer_files(folder)]})
    _check_hash(found, sha256, str(folder))
    for path in files:
        model_files.link(path.resolve(), target / path.name)
    warnings: list[str] = []
    ids = tokenizer("a")["input_ids"]
    puts_bos = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    model_type = str(config.get("model_type"))
    if not puts_bos and model_type.startswith("gemma"):
        # Every Gemma was trained with BOS and writes garbage without it; converters are known to lose it.
        warnings.append("the tokenizer did not put Gemma's BOS first; the saved copy does")
        puts_bos = True
    context = int(config.get("max_position_embeddings") or tokenizer.model_max_length)
    return _Source(tokenizer=tokenizer, puts_bos=puts_bos, context=context, sha256=found, warnings=warnings)


def _write_tokenizer(source: _Source, target: Path) -> None:
    """Save a fast tokenizer that says by itself all that it does: BOS first or none, no EOS, no template."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    old = source.tokenizer
    if not isinstance(old, PreTrainedTokenizerFast):
        raise UserError(f"the tokenizer is a {type(old).__name__} without a tokenizer.json: give a model that has one")
    if old.eos_token_id is None or (source.puts_bos and old.bos_token_id is None):
        raise UserError(f"the tokenizer names no {'EOS' if old.eos_token_id is None else 'BOS'}: set it in its files")
    if getattr(old, "chat_template", None):
        source.warnings.append("the source has a chat template, so it may be instruction-tuned; it is left out here")
    backend = Tokenizer.from_str(old.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    if source.puts_bos:
        bos = str(old.bos_token)
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, int(old.bos_token_id))]
        )
    else:
        backend.post_processor = TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
    names = {
        "eos_token": str(old.eos_token),
        "pad_token": str(old.pad_token if old.pad_token is not None else old.eos_token),
        # A BOS that is named but never put first would be added by the engine, and trained on by nobody.
        **({"bos_token": str(old.bos_token)} if source.puts_bos else {}),
        **({"unk_token": str(old.unk_token)} if old.unk_token is not None else {}),
    }
    new = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        padding_side="left",
        model_max_length=source.context,
        clean_up_tokenization_spaces=False,
        **names,
    )
    new.save_pretrained(str(target))
    # transformers 5 writes a class name of its own, which version 4 and other tools do not know.
    path = target / "tokenizer_config.json"
    saved = {**json.loads(path.read_text(encoding="utf-8")), "tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=new.bos_token_id, eos_token_id=new.eos_token_id, pad_token_id=new.pad_token_id
    ).save_pretrained(str(target))


def _verify(source: _Source, target: Path, num_parameters: int) -> list[str]:
    """Load what was written as everybody will, and check it. Returns warnings; raises UserError."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(target), local_files_only=True)
    for text in SAMPLES:
        ids = tokenizer(text)["input_ids"]
        plain = source.tokenizer(text, add_special_tokens=False)["input_ids"]
        head = [tokenizer.bos_token_id] if source.puts_bos else []
        back = tokenizer.decode(ids, skip_special_tokens=True)
        if ids != [*head, *plain] or back != text:
            raise UserError(f"the tokenizer gives {back!r} back for {text!r} (ids {ids[:8]}…): this model cannot be used")
    return _forward_check(tokenizer, target, num_parameters)


def _forward_check(tokenizer: PreTrainedTokenizerBase, target: Path, num_parameters: int) -> list[str]:
    import psutil
    import torch
    from transformers import AutoModelForCausalLM

    if num_parameters * 4 > psutil.virtual_memory().available * 0.8:
        return ["the forward check was left out: the model does not fit into this machine's memory in fp32"]
    try:
        # The library's types do not know that output_loading_info makes it a pair.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(target), dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        model, loading = loaded
    except (ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the model cannot be loaded ({type(error).__name__}: {reason}): give a causal model") from error
    # Weights that the files lack would be drawn at random without an error.
    wrong = [*loading["missing_keys"], *loading["mismatched_keys"]]
    if wrong:
        raise UserError(f"the model's files lack or misshape {len(wrong)} weights, such as {wrong[0]!r}: get it again")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise UserError(f"the tokenizer has {len(tokenizer)} tokens, the model {rows}: they do not belong together")
    with torch.inference_mode():
        logits = model(**tokenizer(SAMPLES[1], return_tensors="pt", return_token_type_ids=False)).logits
    if not bool(torch.isfinite(logits).all()):
        raise UserError("the model's logits are not finite on a short prompt: its weights are damaged, get it again")
    return []


@contextlib.contextmanager
def _disk_full(target: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        full = full_disk(error, target)
        if full is None:
            raise
        raise full from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Loading bars belong to a terminal of their own; progress is told by lines."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
