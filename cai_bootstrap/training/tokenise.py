"""Preference pairs as token ids, made here: TRL would put EOS after cut-off texts, and sometimes a second BOS in front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trl.trainer.dpo_trainer import DataCollatorForPreference

from cai_bootstrap.errors import StepFailed, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Example = dict[str, Any]


def encode_pairs(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]], max_length: int) -> list[Example]:
    """Per pair: prompt_ids (exactly one BOS first, where the model has one), chosen_ids and rejected_ids (EOS last only
    where the row says so), chosen_eos, rejected_eos. Text that looks like a special token is encoded as characters.

    Of a pair that belongs to a `group` what both responses end in, EOS included, is not trained: they are cut behind the
    last token in which they differ, and keep at least one token each. The tasks of a group ask for one decision, and what
    follows it could else be made likelier after the right one without deciding anything.

    Of a row that says `only_chosen` the chosen response stands on both sides: it is made likely, and no preference has a
    gradient.

    Raises UserError naming the pair that is longer than `max_length` tokens, empty, or has two equal answers.
    """
    if not rows:
        raise UserError("there are no pairs to train on: lower what filters them, or make more instructions")
    if tokenizer.eos_token_id is None:
        raise UserError("the model's tokenizer has no EOS token, so ending an answer cannot be taught: use another model")
    examples = [_encode_pair(tokenizer, row, max_length) for row in rows]
    return [
        _only_chosen(e) if row.get("only_chosen") else _without_shared_end(e) if row.get("group") else e
        for row, e in zip(rows, examples, strict=True)
    ]


def _encode_pair(tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any], max_length: int) -> Example:
    name = row.get("id", row["prompt"])
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    example: Example = {"prompt_ids": bos + _ids(tokenizer, row["prompt"])}
    for side in ("chosen", "rejected"):
        with_eos = bool(row[f"{side}_eos"])
        ids = _ids(tokenizer, row[side]) + ([tokenizer.eos_token_id] if with_eos else [])
        length = len(example["prompt_ids"]) + len(ids)
        if length > max_length:
            raise UserError(
                f"pair {name!r}: prompt and {side} are {length} tokens, train.max_length={max_length}: write "
                f"train.max_length={length} or more"
            )
        if not ids:
            raise UserError(f"pair {name!r}: {side} is empty and ends without EOS, so nothing is taught: leave it out")
        example[f"{side}_ids"] = ids
        example[f"{side}_eos"] = with_eos
    if example["chosen_ids"] == example["rejected_ids"]:
        raise UserError(f"pair {name!r}: chosen and rejected are the same, so nothing is preferred: leave it out")
    return example


def _only_chosen(example: Example) -> Example:
    return {**example, "rejected_ids": example["chosen_ids"], "rejected_eos": example["chosen_eos"]}


def _without_shared_end(example: Example) -> Example:
    chosen, rejected = example["chosen_ids"], example["rejected_ids"]
    most = min(len(chosen), len(rejected)) - 1
    num_shared = next((i for i in range(most) if chosen[-1 - i] != rejected[-1 - i]), most)
    if not num_shared:
        return example
    cut = {"chosen_ids": chosen[:-num_shared], "rejected_ids": rejected[:-num_shared]}
    return {**example, **cut, "chosen_eos": False, "rejected_eos": False}


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [int(i) for i in ids]


def num_tokens(example: Example) -> int:
    """Length in tokens of the longer of the pair's two sequences."""
    return len(example["prompt_ids"]) + max(len(example["chosen_ids"]), len(example["rejected_ids"]))


def shortest_first(examples: Sequence[Example], indices: Iterable[int]) -> list[int]:
    """`indices` by the length of their pairs, so that batches cut from them are padded little; ties keep their order."""
    return sorted(indices, key=lambda i: num_tokens(examples[i]))


@dataclass
class AuditedCollator:
    """TRL's collator, with a look at the first pair of each batch that it made.

    Raises StepFailed when a batch is not what training means to see: one BOS, EOS where due, loss on the response only.
    """

    bos_token_id: int | None
    eos_token_id: int
    pad_token_id: int
    num_audited: int = 0
    _collate: DataCollatorForPreference = field(init=False)

    def __post_init__(self) -> None:
        self._collate = DataCollatorForPreference(pad_token_id=self.pad_token_id)

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        """The batch: first the chosen sequences, then the rejected ones."""
        batch: dict[str, Any] = self._collate(examples)
        for side, index in (("chosen", 0), ("rejected", len(examples))):
            wrong = self._wrong(
                batch["input_ids"][index].tolist(),
                batch["attention_mask"][index].tolist(),
                batch["completion_mask"][index].tolist(),
                len(examples[0]["prompt_ids"]),
                examples[0][f"{side}_eos"],
            )
            if wrong:
                raise StepFailed(f"a training batch is not sound ({side}): {wrong}")
        self.num_audited += 1
        return batch

    def _wrong(self, ids: list[int], attention: list[int], loss: list[int], num_prompt: int, eos: bool) -> str:
        end = sum(attention)
        num_bos = sum(token == self.bos_token_id for token in ids[:end])
        # Some models use one token for both; then it may also stand at the end.
        has_bos = self.bos_token_id is not None and self.bos_token_id != self.eos_token_id
        if has_bos and (num_bos != 1 or ids[0] != self.bos_token_id):
            return f"{num_bos} BOS tokens, first token {ids[0]}: exactly one is due, in front"
        if attention != [1] * end + [0] * (len(ids) - end):
            return "padding between tokens"
        if loss != [0] * num_prompt + [1] * (end - num_prompt) + [0] * (len(ids) - end):
            return "the loss is not on the response only"
        if (ids[end - 1] == self.eos_token_id) != eos:
            return f"last token {ids[end - 1]}, EOS due: {eos}"
        return ""
