"""The decoding loop: rows leave when they finish, waiting requests take their places, one prefix is shared by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from cai_bootstrap.engines.attention import SlotCache
from cai_bootstrap.engines.engine import STOP_ASKED_EVERY, Generation, GenerationRequest, OnDone, place_of_stop
from cai_bootstrap.engines.head import OutputLayer
from cai_bootstrap.engines.tokens import Tokens
from cai_bootstrap.records import FinishReason

_MIN_PREFIX = 8
"""Sharing pays from a few tokens on; below that the second matrix product costs more than it saves."""

_PREFILL_TOKENS = 384
"""Tokens in one forward pass over prompts: enough for a fast product, and few enough that little is padded."""


@dataclass
class _Row:
    index: int
    request: GenerationRequest
    suffix: list[int]
    num_prompt_tokens: int
    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0


def shared_prefix_length(prompts: Sequence[list[int]]) -> int:
    """Number of leading ids that all prompts share, leaving each at least one id of its own."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)  # the extremes in lexical order share what all share
    length = min(min(len(p) for p in prompts) - 1, len(low), len(high))
    same = next((i for i in range(length) if low[i] != high[i]), length)
    return same if same >= _MIN_PREFIX else 0


def forward_prefix(model: PreTrainedModel, ids: Sequence[int], num_layers: int) -> SlotCache:
    """A cache whose shared prefix holds `ids`."""
    cache = SlotCache(num_layers)
    if ids:
        device = model.device
        cache.reserve(1, len(ids))
        first = torch.zeros(1, dtype=torch.long, device=device)
        positions = cache.begin(first, first, len(ids))
        tokens = torch.tensor([list(ids)], device=device)
        model.base_model(input_ids=tokens, position_ids=positions, use_cache=False, slot_cache=cache)
        cache.prefix = [(k[0].contiguous(), v[0].contiguous()) for k, v in (held for held in cache.rows if held)]
        cache.prefix_length = len(ids)
    return cache


def pad(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> torch.Tensor:
    """Right-padded ids, (rows, longest)."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)


class Decoder:
    """Continues prompts (already token ids) with one model."""

    def __init__(self, model: PreTrainedModel, head: OutputLayer, tokens: Tokens, eos_ids: frozenset[int]) -> None:
        self.model = model
        self.head = head
        self.tokens = tokens
        self.eos_ids = eos_ids
        self.num_layers = int(model.config.get_text_config().num_hidden_layers)

    @torch.inference_mode()
    def run(
        self,
        prompts: Sequence[list[int]],
        requests: Sequence[GenerationRequest],
        num_slots: int,
        on_done: OnDone | None = None,
    ) -> list[Generation]:
        """One Generation per request, in order."""
        results: list[Generation | None] = [None] * len(requests)
        prefix = shared_prefix_length(prompts)
        cache = forward_prefix(self.model, prompts[0][:prefix] if prompts else [], self.num_layers)
        waiting = [
            _Row(i, r, p[prefix:], len(p), np.random.default_rng(r.seed).random(r.max_tokens))
            for i, (p, r) in enumerate(zip(prompts, requests, strict=True))
        ]
        # Longest first: rows prefilled together are alike in length, and the long ones do not end up alone at the end.
        # Equal texts beside each other, so that they are prefilled together.
        waiting.sort(key=lambda row: (-len(row.suffix), row.suffix, -row.request.max_tokens, row.index))
        num_slots = min(num_slots, len(waiting))
        cache.reserve(num_slots, max((len(r.suffix) + r.request.max_tokens for r in waiting), default=0))
        active: list[_Row] = []
        done = 0
        while waiting or active:
            free = num_slots - len(active)
            if waiting and (free >= max(1, num_slots // 4) or not active):
                new, waiting = waiting[:free], waiting[free:]
                hidden = self._prefill(cache, new, first_slot=len(active))
                active += new
                pending = new
            else:
                hidden = self._step(cache, active)
                pending = active
            finished = self._accept(pending, hidden)
            for row, finish, text in finished:
                results[row.index] = Generation(
                    text=text,
                    token_ids=tuple(row.tokens),
                    finish=finish,
                    logprob=row.logprob,
                    num_prompt_tokens=row.num_prompt_tokens,
                )
                slot = active.index(row)
                last = active.pop()
                if last is not row:  # keep the active rows in the first slots
                    cache.move(len(active), slot)
                    active[slot] = last
            if finished:
                done += len(finished)
                if on_done is not None:
                    on_done(done)
        return [result for result in results if result is not None]

    def _prefill(self, cache: SlotCache, rows: list[_Row], first_slot: int) -> torch.Tensor:
        """Last hidden states, (rows, hidden). A text that several rows share runs once; rows of like length run together."""
        device = self.model.device
        slots: dict[tuple[int, ...], int] = {}
        for slot, row in enumerate(rows, first_slot):
            slots.setdefault(tuple(row.suffix), slot)
        texts, found = list(slots), {}
        while texts:
            count = max(1, _PREFILL_TOKENS // len(texts[0]))
            part, texts = texts[:count], texts[count:]
            ids = pad(part, 0, device)
            places = torch.tensor([slots[text] for text in part], device=device)
            positions = cache.begin(places, torch.zeros_like(places), ids.shape[1])
            hidden = self._hidden(ids, positions, cache)
            found.update({text: hidden[i, len(text) - 1] for i, text in enumerate(part)})
        for slot, row in enumerate(rows, first_slot):
            if slots[tuple(row.suffix)] != slot:
                cache.move(slots[tuple(row.suffix)], slot)
        return torch.stack([found[tuple(row.suffix)] for row in rows])

    def _step(self, cache: SlotCache, rows: list[_Row]) -> torch.Tensor:
        device = self.model.device
        ids = torch.tensor([[row.tokens[-1]] for row in rows], device=device)
        starts = torch.tensor([len(row.suffix) + len(row.tokens) - 1 for row in rows], device=device)
        positions = cache.begin(torch.arange(len(rows), device=device), starts, 1)
        return self._hidden(ids, positions, cache)[:, 0]

    def _hidden(self, ids: torch.Tensor, positions: torch.Tensor, cache: SlotCache) -> torch.Tensor:
        output = self.model.base_model(input_ids=ids, position_ids=positions, use_cache=False, slot_cache=cache)
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _accept(self, rows: list[_Row], hidden: torch.Tensor) -> list[tuple[_Row, FinishReason, str]]:
        """Draw one token for each row; returns those that are finished with the reason and the text."""
        scan = self.head.scan(hidden, max((r.request.top_k if r.request.temperature > 0 else 1) for r in rows))
        kept_logits, kept_ids = scan.logits.cpu().numpy().astype(np.float64), scan.ids.cpu().numpy()
        logprobs = (scan.logits - scan.normaliser[:, None]).cpu().numpy()
        finished: list[tuple[_Row, FinishReason, str]] = []
        for i, row in enumerate(rows):
            choice = _draw(kept_logits[i], row.request, row.uniforms[len(row.tokens)])
            token = int(kept_ids[i, choice])
            row.tokens.append(token)
            row.logprob += float(logprobs[i, choice])
            if token in self.eos_ids:
                finished.append((row, "eos", self.tokens.decode(row.tokens[:-1])))
                continue
            stopped = self._stopped(row)
            if stopped is not None:
                finished.append((row, "stop", stopped))
            elif len(row.tokens) >= row.request.max_tokens:
                finished.append((row, "length", self.tokens.decode(row.tokens)))
        return finished

    def _stopped(self, row: _Row) -> str | None:
        """The text before the first stop string, if one is there, or the text whose rest is not wanted, else None."""
        stop_when = row.request.stop_when if len(row.tokens) % STOP_ASKED_EVERY == 0 else None
        if not row.request.stop and stop_when is None:
            return None
        text = self.tokens.decode(row.tokens)
        at = place_of_stop(text, row.request.stop)
        if at is not None:
            return text[:at]
        return text if stop_when is not None and stop_when(text) else None


def _draw(values: np.ndarray, request: GenerationRequest, uniform: float) -> int:
    """Index into `values` (descending logits): greedy, or temperature, then top-k, then top-p, by inverse CDF."""
    if request.temperature == 0:
        return 0
    scaled = values[: request.top_k] / request.temperature
    weights = np.exp(scaled - scaled[0])
    weights /= weights.sum()
    cumulative = np.cumsum(weights)
    kept = int(np.searchsorted(cumulative, request.top_p)) + 1
    return min(int(np.searchsorted(cumulative[:kept], uniform * cumulative[min(kept, len(cumulative)) - 1])), kept - 1)
