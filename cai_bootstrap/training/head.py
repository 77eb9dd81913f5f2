"""Log-probabilities of response tokens, each pair's prompt computed once, without the logits of all other tokens.

TRL 1.16 skips prompt and padding positions only with Triton; on a CPU it puts every position through the output layer,
which is most of a small model's work. This head scores only positions with a label, and takes the gradient of the hidden
state while it has the probabilities, so that nothing is computed twice and no logits are kept.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from cai_bootstrap.engines.head import unsupported_scales
from cai_bootstrap.errors import UserError
from cai_bootstrap.training import packing

_LOGITS_PER_CHUNK = 2**25
"""128 MiB of fp32 logits at a time: enough rows for a fast matrix product."""


class _ResponseLogprobs(torch.autograd.Function):
    """log softmax(W h)[label] per row, differentiable in h only: the output layer is frozen.

    d log p / d h = Wᵀ (onehot(label) − softmax(W h)), times 1 − tanh² with soft-capped logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        softcap: float | None,
        keep_gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per row: log-probability, entropy in nats, mean logit, whether the label has the largest logit."""
        rows = max(16, _LOGITS_PER_CHUNK // weight.shape[0])
        gradient = torch.empty_like(hidden) if keep_gradient else hidden.new_empty(0)
        parts = []
        for start in range(0, len(hidden), rows):
            part, wanted = hidden[start : start + rows], labels[start : start + rows, None]
            logits = torch.nn.functional.linear(part, weight, bias).float()
            if softcap is not None:
                logits = softcap * torch.tanh(logits / softcap)
            largest, own = logits.amax(-1, keepdim=True), logits.gather(1, wanted)
            weights = (logits - largest).exp_()
            total = weights.sum(-1, keepdim=True)
            normaliser = largest + total.log()
            entropy = (normaliser - torch.linalg.vecdot(weights, logits)[:, None] / total)[:, 0]
            parts.append(((own - normaliser)[:, 0], entropy, logits.mean(-1), (own >= largest)[:, 0]))
            if keep_gradient:
                # Normalised after the product: rows of `hidden` size instead of the vocabulary's.
                slope: Any = 1.0
                if softcap is not None:
                    weights *= 1 - (logits / softcap) ** 2
                    slope = 1 - (own / softcap) ** 2
                pulled = (weights.to(weight.dtype) @ weight) / total
                gradient[start : start + rows] = (slope * weight[wanted[:, 0]] - pulled).to(gradient.dtype)
        ctx.save_for_backward(gradient)
        if not parts:
            empty = hidden.new_zeros(0, dtype=torch.float32)
            return empty, empty.clone(), empty.clone(), empty.bool()
        logprobs, entropies, means, tops = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.mark_non_differentiable(entropies, means, tops)
        return logprobs, entropies, means, tops

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (grads[0][:, None] * gradient).to(gradient.dtype), None, None, None, None, None


def install(model: PreTrainedModel) -> None:
    """Make `model(..., labels=…, fused_lm_head=True)` score labelled positions only, in place of TRL's own patch.

    `model` is the one inside the PEFT wrapper. Raises UserError for an output layer that this head cannot read.
    """
    config = model.config.get_text_config()
    scaled = unsupported_scales(config)
    recurrent = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"})
    if scaled or recurrent or getattr(config, "output_router_logits", False):
        reason = ", ".join(scaled or recurrent) or "router losses"
        raise UserError(f"model type {config.model_type!r} cannot be trained here ({reason}): use another")
    softcap = getattr(config, "final_logit_softcapping", None)
    plain = type(model).forward

    @functools.wraps(plain)
    def forward(
        self: Any, input_ids: Any, attention_mask: Any, *, labels: Any = None, fused_lm_head: bool = False, **kwargs: Any
    ) -> Any:
        if not fused_lm_head:
            return plain(self, input_ids, attention_mask, labels=labels, **kwargs)
        head = self.get_output_embeddings()
        if not head.weight.is_floating_point() or head.weight.requires_grad:
            raise UserError("the output layer is quantized or trained: leave it out of train.lora.target_modules")
        packed = packing.pack(input_ids, attention_mask, labels)
        output = self.base_model(
            input_ids=packed.input_ids, position_ids=packed.position_ids, use_cache=False, packed_pairs=packed
        )
        rows = output.last_hidden_state.flatten(0, 1)[packed.rows]
        wanted = labels[:, 1:]
        mask = wanted != -100
        fields = _ResponseLogprobs.apply(  # type: ignore[no-untyped-call]
            rows.to(head.weight.dtype),
            head.weight,
            head.bias,
            wanted[mask],
            softcap,
            torch.is_grad_enabled() and rows.requires_grad,
        )
        logprobs, entropy, mean_logits, is_top1 = (x.new_zeros(mask.shape).masked_scatter(mask, x) for x in fields)
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
