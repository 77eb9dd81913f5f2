"""Log-probabilities of response tokens, each pair's prompt computed once, without the logits of all other tokens.

TRL 1.16 skips prompt and padding positions only with Triton; on a CPU it puts every position through the output layer,
which is most of a small model's work. This head scores only positions with a label, and takes the gradient of the hidden
state while it has the probabilities, so that nothing is computed twice and no logits are kept.
"""

from __future__ import annotations

import contextlib
import functools
import types
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from cai_bootstrap.engines.head import OutputLayer, unsupported_scales
from cai_bootstrap.engines.packed import pack_layers
from cai_bootstrap.errors import UserError
from cai_bootstrap.training import fused, packing
from cai_bootstrap.training.prefix import FrozenPrefix

_LOGITS_PER_TILE = 2**22
"""16 MiB of fp32 logits at a time: enough rows for a fast matrix product, and still in the cache."""
_LOGITS_PER_TILE_ON_GPU = 2**27
"""Half a GiB: some 900 rows of a large vocabulary. With fewer the output layer's own bytes take longer than the product."""


class _ResponseLogprobs(torch.autograd.Function):
    """log softmax(W h)[label] per label, differentiable in h only: the output layer is frozen.

    d log p / d h = Wᵀ (onehot(label) − softmax(W h)), times 1 − tanh² with soft-capped logits. Sums over the vocabulary are
    taken tile by tile under a running maximum (Milakov and Gimelshein 2018, arXiv:1805.02867).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: OutputLayer, labels: torch.Tensor, row_of: torch.Tensor, keep_gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per label: log-probability, entropy in nats, mean logit, whether the label has the largest logit.

        `row_of` says which row of `hidden` predicts each label, in ascending order: two labels may share a row.
        """
        most = _LOGITS_PER_TILE if hidden.device.type == "cpu" else _LOGITS_PER_TILE_ON_GPU
        size = max(16, most // head.tile_tokens)
        parts = []
        for start in range(0, len(hidden), size):
            here = (row_of >= start) & (row_of < start + size)
            parts.append(_scan_labels(head, hidden[start : start + size], labels[here], row_of[here] - start, keep_gradient))
        ctx.num_rows = len(hidden)
        if not parts:
            empty = hidden.new_zeros(0, dtype=torch.float32)
            ctx.save_for_backward(torch.empty_like(hidden), row_of)
            return empty, empty.clone(), empty.clone(), empty.bool()
        logprobs, entropies, means, tops, gradient = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.save_for_backward(gradient, row_of)
        ctx.mark_non_differentiable(entropies, means, tops)
        return logprobs, entropies, means, tops

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient, row_of = ctx.saved_tensors
        of_labels = grads[0][:, None] * gradient
        of_rows = of_labels.new_zeros(ctx.num_rows, gradient.shape[1]).index_add_(0, row_of, of_labels)
        return of_rows.to(gradient.dtype), None, None, None, None


def _scan_labels(
    head: OutputLayer, hidden: torch.Tensor, labels: torch.Tensor, row_of: torch.Tensor, keep_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """`_ResponseLogprobs.forward`'s four results for some rows, and d log p / d h (empty unless it is to be kept)."""
    largest = hidden.new_full((len(hidden), 1), float("-inf"), dtype=torch.float32)
    total, dot, mean = (torch.zeros_like(largest) for _ in range(3))
    own = hidden.new_zeros(len(labels), 1, dtype=torch.float32)
    pulled: Any = 0.0
    for tile, logits in head.tiles(hidden):
        place = labels - tile.start
        here = (place >= 0) & (place < logits.shape[1])
        own[here, 0] = logits[row_of[here], place[here]]
        mean += logits.sum(1, keepdim=True) / len(head.weight)
        before, largest = largest, torch.maximum(largest, logits.amax(1, keepdim=True))
        shrink = (before - largest).exp_()
        weights = (logits - largest).exp_()
        total = total * shrink + weights.sum(1, keepdim=True)
        dot = dot * shrink + torch.linalg.vecdot(weights, logits)[:, None]
        if keep_gradient:
            if head.softcap:
                weights *= 1 - (logits / head.softcap) ** 2
            pulled = pulled * shrink + head.pull(tile, weights)
    normaliser = largest + total.log()
    entropy, tops = (normaliser - dot / total)[row_of, 0], (own >= largest[row_of])[:, 0]
    below = normaliser[row_of]
    if head.is_rounded:  # the label's own logit as it is, in the normaliser too
        rounded, own, top = own, head.logits_of(hidden[row_of], labels[:, None]), largest[row_of]
        below = top + (total[row_of] - (rounded - top).exp() + (own - top).exp()).log()
    gradient = hidden.new_empty(0)
    if keep_gradient:
        slope: Any = 1 - (own / head.softcap) ** 2 if head.softcap else 1.0
        gradient = (slope * head.weight[labels] - (pulled / total)[row_of]).to(hidden.dtype)
    return (own - below)[:, 0], entropy, mean[row_of, 0], tops, gradient


def install(model: PreTrainedModel, prefix: FrozenPrefix | None = None, *, rounded: bool = False) -> None:
    """Make `model(..., labels=…, fused_lm_head=True)` score labelled positions only, in place of TRL's own patch.

    `model` is the one inside the PEFT wrapper. What `prefix` has computed is not computed again. `rounded` makes the products
    with the output layer in bf16. Raises UserError for an output layer that this head cannot read.
    """
    config = model.config.get_text_config()
    scaled = unsupported_scales(config)
    recurrent = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"})
    if scaled or recurrent or getattr(config, "output_router_logits", False):
        reason = ", ".join(scaled or recurrent) or "router losses"
        raise UserError(f"model type {config.model_type!r} cannot be trained here ({reason}): use another")
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not output.weight.is_floating_point() or output.weight.requires_grad:
        raise UserError("the output layer is quantized or trained: leave it out of train.lora.target_modules")
    head = OutputLayer(model, differentiable=True, rounded=rounded)
    pack_layers(model, output, differentiable=True)
    read = fused.fuse(model)
    plain = type(model).forward

    @functools.wraps(plain)
    def forward(
        self: Any, input_ids: Any, attention_mask: Any, *, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any
    ) -> Any:
        if not fused_lm_head:
            read.places = None
            return plain(self, input_ids, attention_mask, labels=labels, **kwargs)
        packed = packing.pack(input_ids, attention_mask, labels)
        # The same state predicts the first token of both responses, and all tokens where they are equal.
        places, row_of = torch.unique(packed.predicting, return_inverse=True)
        read.places = places
        known = prefix is not None and prefix.is_computed
        begin = {"inputs_embeds": prefix.look_up(packed)} if prefix and known else {"input_ids": packed.input_ids}
        with prefix.skipped() if prefix and known else contextlib.nullcontext():
            output = self.base_model(**begin, position_ids=packed.position_ids, use_cache=False, packed_pairs=packed)
        by_row = row_of.argsort(stable=True)
        rows = output.last_hidden_state.flatten(0, 1)[places]
        wanted = labels[:, 1:]
        mask = wanted != -100
        fields = _ResponseLogprobs.apply(  # type: ignore[no-untyped-call]
            rows.to(head.weight.dtype),
            head,
            wanted[mask][by_row],
            row_of[by_row],
            torch.is_grad_enabled() and rows.requires_grad,
        )
        back = by_row.argsort()
        logprobs, entropy, mean_logits, is_top1 = (x.new_zeros(mask.shape).masked_scatter(mask, x[back]) for x in fields)
        return FusedCausalLMOutput(
            loss=-logprobs.sum() / mask.sum().clamp(min=1),
            log_probs=logprobs,
            entropy=entropy,
            log_sum_sq_probs=None,
            mean_logits=mean_logits,
            is_top1=is_top1,
            label_mask=mask,
            aux_loss=None,
        )

    model.forward = types.MethodType(forward, model)
