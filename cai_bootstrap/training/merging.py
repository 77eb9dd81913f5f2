"""An adapter merged into plain weights, and a certificate that the merged model on disk is the one that was trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from cai_bootstrap.engines import model_files
from cai_bootstrap.engines.engine import OnDone
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.store.files import full_disk

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Merging:
    """The arguments of `merge`, to be held by a child process."""

    model_folder: Path
    adapter_folder: Path
    target_folder: Path
    prompts: list[str]
    num_tokens: int
    device: str
    dtype: str
    threads: int
    share: float = 1.0
    quantization: str = "none"
    trained_device: str = "cpu"
    trained_dtype: str = "float32"
    saved_dtype: str = "float32"

    def run(self, on_done: OnDone | None = None) -> dict[str, Any]:
        """See `merge`."""
        return merge(**vars(self), on_done=on_done)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Left-padded prompts: (prompts, tokens)."""

    ids: torch.Tensor
    mask: torch.Tensor
    num_tokens: int


def merge(
    *,
    model_folder: Path,
    adapter_folder: Path,
    target_folder: Path,
    prompts: list[str],
    num_tokens: int,
    device: str,
    dtype: str,
    threads: int,
    share: float = 1.0,
    quantization: str = "none",
    trained_device: str = "cpu",
    trained_dtype: str = "float32",
    saved_dtype: str = "float32",
    on_done: OnDone | None = None,
) -> dict[str, Any]:
    """Write base plus `share` of the adapter as safetensors with the base's tokenizer into `target_folder`, made here.

    Returns what was measured on the model as read back from there. What is added up in `dtype` is rounded to `saved_dtype` in
    the files. It and the base with as much of the adapter switched on see each prompt and the latter's greedy continuation of
    `num_tokens`, EOS not heeded:
    {max_logit_difference: largest absolute one over all positions and tokens; greedy_agreement: share of positions where
    both prefer the same token; mean_kl: Kullback–Leibler divergence of the merged model from the adapter-on model in nats,
    mean over the positions; base_difference: largest absolute logit difference between base and merged model after the
    prompts; num_prompts, num_positions, dtype, device; saved_dtype where it is another, share where it is not all}.

    An adapter that was trained on weights in `quantization`, computed in `trained_dtype` on `trained_device`, was trained on
    another model than the one that it is merged into. `quantized` then holds the same comparison (without base_difference) of
    the merged model with the adapter on the quantized one, along that one's greedy continuations up to their EOS (what comes
    behind it nobody ever reads, and two such models differ most there), and these as `continuations` (token ids).

    `on_done` counts to 1 + 2 × `num_tokens`, to 1 + 4 × `num_tokens` with a `quantization`. Raises UserError for an adapter
    without safetensors, StepFailed for one that does not fit the model, DiskFull.
    """
    from cai_bootstrap.engines.tokens import eos_token_ids, load_tokenizer
    from cai_bootstrap.engines.transformers import load_model

    if not prompts:
        raise UserError("prompts=[] is not valid for a merge: give held-out prompts to compare the models on")
    if threads:
        torch.set_num_threads(threads)
    tokenizer = load_tokenizer(model_folder)
    batch = _encode(tokenizer, prompts, num_tokens, device)
    count = _counter(on_done)
    trained: list[torch.Tensor] = []
    if quantization != "none":
        there = _encode(tokenizer, prompts, num_tokens, trained_device)
        trained = _trained_logits(model_folder, adapter_folder, share, there, quantization, trained_dtype, count)
    model = load_model(model_folder, device=device, dtype=dtype, attention_name="sdpa")
    with torch.inference_mode():
        base_logits = next(_continue(model, batch, None, count))
    adapted = _with_adapter(model, adapter_folder, share)
    with torch.inference_mode():
        adapter_logits = list(_continue(adapted, batch, None, count))
    merged = adapted.merge_and_unload(safe_merge=True)
    if saved_dtype != dtype:
        merged.to(getattr(torch, saved_dtype))
    _save(merged, model_folder, target_folder)
    del model, adapted, merged
    # What is certified is what later stages will load, so it is read back.
    saved = load_model(target_folder, device=device, dtype=dtype, attention_name="sdpa")
    with torch.inference_mode():
        measured = _compare(adapter_logits, _continue(saved, batch, adapter_logits, count), base_logits)
        if trained:
            # Weights that are rounded are the greater part of the base's difference too, so it tells nothing here.
            ends = eos_token_ids(getattr(saved.generation_config, "eos_token_id", None), tokenizer)
            found = _compare(trained, _continue(saved, batch, trained, count), trained[0], ends)
            del found["base_difference"]
            continuations = torch.stack([logits.argmax(-1) for logits in trained], dim=1).tolist()
            measured["quantized"] = {**found, "dtype": trained_dtype, "continuations": continuations}
    told: dict[str, Any] = {} if saved_dtype == dtype else {"saved_dtype": saved_dtype}
    told |= {} if share == 1 else {"share": share}
    return {**measured, "num_prompts": len(prompts), "dtype": dtype, "device": device, **told}


def _trained_logits(
    model_folder: Path,
    adapter_folder: Path,
    share: float,
    batch: _Batch,
    quantization: str,
    dtype: str,
    count: Callable[[], None],
) -> list[torch.Tensor]:
    """What the model that was trained says along its own continuation."""
    from cai_bootstrap.training import quantized

    device = str(batch.ids.device)
    model = quantized.load_model(
        model_folder, quantization=quantization, device=device, dtype=dtype, attention_name="sdpa"
    ).eval()
    adapted = _with_adapter(model, adapter_folder, share)
    with torch.inference_mode():
        return list(_continue(adapted, batch, None, count))


def _counter(on_done: OnDone | None) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_done is not None:
            on_done(done)

    return count


def _encode(tokenizer: PreTrainedTokenizerBase, prompts: list[str], num_tokens: int, device: str) -> _Batch:
    bos = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    rows = [bos + tokenizer(prompt, add_special_tokens=False, split_special_tokens=True)["input_ids"] for prompt in prompts]
    width = max(len(row) for row in rows)
    padding = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)
    ids = torch.tensor([[padding] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return _Batch(ids=ids, mask=mask, num_tokens=num_tokens)


def _with_adapter(model: PreTrainedModel, folder: Path, share: float) -> Any:
    """The model with so much of the adapter switched on. Raises StepFailed unless every tensor of the file found its place."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from peft.utils import get_peft_model_state_dict

    if not (folder / _WEIGHTS).is_file():
        raise UserError(f"{folder} has no {_WEIGHTS}: an adapter is only read from safetensors")
    try:
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StepFailed(f"the adapter in {folder} does not fit the model ({reason}): train it again") from error
    stored = load_file(folder / _WEIGHTS)
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(adapted)
    # PEFT counts an embedding's own weights in where the embedding carries an adapter; the file need not hold them.
    loaded = {key: tensor for key, tensor in found.items() if key in stored or ".base_layer." not in key}
    # PEFT only warns about keys that found no place, and leaves those layers as they were.
    wrong = sorted(set(stored) ^ set(loaded))
    wrong += [k for k in sorted(set(stored) & set(loaded)) if not torch.equal(stored[k], loaded[k].cpu().to(stored[k]))]
    if wrong:
        raise StepFailed(
            f"the adapter in {folder} does not fit the model: {len(wrong)} of {len(stored)} tensors found no place, "
            f"such as {wrong[0]!r}; train it again on this model"
        )
    for part in adapted.modules():
        if isinstance(part, LoraLayer):
            part.scale_layer(share)
    return adapted.eval()


def _continue(
    model: Any, batch: _Batch, forced: list[torch.Tensor] | None, count: Callable[[], None]
) -> Iterator[torch.Tensor]:
    """Next-token logits in fp32, (prompts, vocabulary), after the prompts and along a greedy continuation.

    The continuation is the model's own, or that of the `forced` logits: one early tie then costs one position, not all
    that follow it. All models run the same shapes, so rounding that comes of shapes alone cancels out.
    """
    ids, mask, cache = batch.ids, batch.mask, None
    for index in range(batch.num_tokens):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1].float().cpu()
        count()
        yield logits
        cache = output.past_key_values
        ids = (logits if forced is None else forced[index]).argmax(-1, keepdim=True).to(batch.ids.device)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)


def _save(merged: Any, model_folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    try:
        merged.save_pretrained(str(target))
        # Byte for byte: a tokenizer that is saved anew may lose what was set in its files by hand (BOS, class name).
        for path in [*model_files.tokenizer_files(model_folder), model_folder / "generation_config.json"]:
            if path.is_file():
                shutil.copyfile(path, target / path.name)
    except (OSError, SafetensorError) as error:
        full = full_disk(error, target)
        if full is not None:
            raise full from error
        raise


def _compare(
    reference: list[torch.Tensor], logits: Iterator[torch.Tensor], base: torch.Tensor, ends: Collection[int] = ()
) -> dict[str, Any]:
    """The figures of a certificate; of a continuation only as far as the first token in `ends`, where there are any."""
    going = torch.ones(len(base), dtype=torch.bool)
    largest, agreed, divergence, num_positions, base_difference = 0.0, 0, 0.0, 0, 0.0
    for index, (expected, found) in enumerate(zip(reference, logits, strict=True)):
        if index == 0:
            base_difference = float((found - base).abs().max())
        if ends:
            told, expected, found = expected.argmax(-1), expected[going], found[going]
            going &= ~torch.isin(told, torch.tensor(sorted(ends)))
            if not len(expected):
                continue
        largest = max(largest, float((expected - found).abs().max()))
        agreed += int((expected.argmax(-1) == found.argmax(-1)).sum())
        first, second = expected.double().log_softmax(-1), found.double().log_softmax(-1)
        # KL(P‖Q) = Σ P (log P − log Q) is never below 0; what is comes of rounding.
        divergence += float((first.exp() * (first - second)).sum(-1).clamp(min=0).sum())
        num_positions += len(expected)
    return {
        "max_logit_difference": largest,
        "greedy_agreement": agreed / num_positions,
        "mean_kl": divergence / num_positions,
        "base_difference": base_difference,
        "num_positions": num_positions,
    }
