"""How much work each step will be, told from its settings before it runs: calls of a model, tokens, records that come of it.

One entry a step function (`WORKLOADS`), for a plan only: no step reads this. Lengths and shares that no configuration tells are
means of the demo's curriculum with Gemma 3 270M (2026-11-22, `docs/plan.md`); a larger model's differ, and a plan says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import Config
from cai_bootstrap.estimates import Calls
from cai_bootstrap.evals import tasks
from cai_bootstrap.steps.evaluate import draw
from cai_bootstrap.steps.judge import kind_of

CHARS_PER_TOKEN = 4.1
"""Of the worked examples with Gemma's tokenizer: 3.9 to 4.4 by stage. Qwen's differs by less."""
SHOTS_TOKENS = 300
"""Worked examples before a candidate: 260 to 360 tokens in stages 1 to 5."""
INSTRUCTION_TOKENS, ANSWER_TOKENS = 9, 8
CUE_TOKENS = 6
"""«Instruction: …\\nResponse:» with BOS, without the instruction."""
JUDGED_TOKENS = 75
"""A question which of two answers keeps a rule, without worked examples; with two of them twice that."""
WRITTEN = {"raw": 84.0, "cued": 45.0, "fewshot": 8.5, "trained": 8.0}
"""Tokens of an evaluation's answer, mean over all suites: a base model runs on, and a trained one ends."""
LONGEST = {"raw": 128.0, "cued": 128.0, "fewshot": 32.0, "trained": 26.0}
KEPT_SHARE = {
    "explicit": 0.56,
    "implicit": 0.49,
    "generation": 0.81,
    "evaluation": 0.4,
    "revision": 0.79,
    "constitutional": 0.94,
}
"""Of a stage's instructions those with an answer that selection keeps."""
TASKS_PER_ANSWER = {"evaluation": 0.0, "revision": 0.5}
"""Of what a construction keeps beside committed cases: where it corrupts kept answers, half give a task."""
_BASE_LIST, _TRAINED_LIST = (74.0, 110.0, 2.8), (10.0, 30.0, 0.45)
"""Continued lists of a base model and of a trained one, which ends after a line: tokens, the longest of a call, and
instructions kept of each list."""
_LIST_TOKENS = 105
_OVER_REFUSED = 0.66
"""Share of harmless requests among stage 6's prompts."""
_EXTRA_GROUPS = 9
"""Calls for candidates beside one a shard and set: kinds and forms have worked examples of their own."""
_RECORD_BYTES = 1800


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a step will do."""

    calls: Sequence[Calls] = ()
    role: str = "model"
    """The input that runs."""
    also: Sequence[tuple[str, Calls]] = ()
    """Calls of other models, by input."""
    records: float = 0.0
    disk_bytes: float = 0.0
    """What it leaves on the disk beside its records; a model's weights are counted by who knows its shape."""
    pairs: float = 0.0
    """Of a training: pairs, all epochs together."""
    tokens: float = 0.0
    """Of a training: tokens of prompts and responses, all epochs together, as if pairs shared none."""
    computed: float = 1.0
    """Share of them that a training pass computes: what two neighbours' prompts begin with it computes once."""
    scored: float = 0.0
    """Of a training: tokens of responses."""
    referenced: float = 0.0
    """Share of one epoch's pairs that the reference scores first."""
    epochs: float = 1.0
    width: int = 0
    """Of a training: tokens of the longest pair."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a step is asked for, as `Runner.step` gets it."""

    stage: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    counts: Mapping[str, float]
    """Records of each input."""
    config: Config
    trained: bool
    """Whether the model that runs was trained by a stage before."""
    means: Mapping[str, float] = field(default_factory=dict)

    @property
    def shards(self) -> float:
        """Shards of all instructions."""
        return math.ceil(self.count("instructions") / float(self.settings["shard_size"]))

    def count(self, name: str) -> float:
        """Records of an input, none where it is not there."""
        return float(self.counts.get(name, 0.0))


def _tokens(text: str) -> float:
    return len(text) / CHARS_PER_TOKEN


def _outputs(asked: Asked) -> Workload:
    values, settings = asked.values, asked.settings
    items = draw(tasks.load_suite(values["suite"], values["split"]), settings.get("num_items", 0))
    own = 1 + sum(_tokens(templates.cued(item.instruction)) for item in items) / len(items)
    arm, most = str(values["arm"]), float(settings["max_tokens"])
    shots = templates.few_shot([(q, a) for q, a in values["shots"]], "") if values["shots"] else ""
    rows = min(float(settings["shard_size"]), len(items))
    calls = Calls(
        count=len(items) / rows,
        rows=rows,
        prefix=_tokens(shots),
        own=own,
        out=min(WRITTEN[arm], most),
        longest=min(LONGEST[arm], most),
    )
    return Workload(calls=[calls], records=len(items))


def _instructions(asked: Asked) -> Workload:
    settings = asked.settings
    out, longest, kept = _TRAINED_LIST if asked.trained else _BASE_LIST
    most, rows = float(settings["sampling"]["max_tokens"]), float(settings["requests_per_shard"])
    wanted = float(settings["num_instructions"])
    shards = math.ceil(wanted / kept / rows)
    calls = Calls(count=shards, rows=rows, own=_LIST_TOKENS, out=min(out, most), longest=min(longest, most))
    return Workload(calls=[calls], records=wanted, disk_bytes=shards * rows * 3 * 300)


def _candidates(asked: Asked) -> Workload:
    settings = asked.settings
    each, sets = float(settings["num_candidates"]), 3.0 if settings.get("own_answers") else 2.0
    number, most = asked.count("instructions"), float(settings["sampling"]["max_tokens"])
    count = sets * (asked.shards + min(_EXTRA_GROUPS, number / 15))
    with_shots = 2 / sets
    calls = Calls(
        count=count,
        rows=number * each / count,
        prefix=SHOTS_TOKENS * with_shots,
        own=INSTRUCTION_TOKENS + CUE_TOKENS,
        out=min(ANSWER_TOKENS, most),
        longest=min(15.0, most),
        texts=sets / each,
    )
    return Workload(calls=[calls], records=number * each)


def _verdicts(asked: Asked) -> Workload:
    """Agreement and the few-shot log-probability cost nothing: the candidates have them."""
    methods, shares = asked.settings["methods"], asked.config.stage.instructions.kind_shares
    each, candidates = asked.config.stage.responses.num_candidates, asked.count("candidates")
    relevant = candidates * sum(share for kind, share in shares.items() if methods.get(kind) == "relevance")
    critical = candidates * sum(share for kind, share in shares.items() if methods.get(kind) == "critic")
    calls = []
    if relevant:
        calls.append(_scoring(relevant, 2 * asked.shards, SHOTS_TOKENS, INSTRUCTION_TOKENS + ANSWER_TOKENS + 3))
    if critical:
        calls.append(_scoring(2 * critical, asked.shards, 100, JUDGED_TOKENS, 1))
    return Workload(calls=calls, records=asked.count("instructions") * each)


def _scoring(items: float, count: float, prefix: float, own: float, scored: float = ANSWER_TOKENS) -> Calls:
    """Texts read once, their log-probabilities taken; relevance reads each twice, which `count` holds."""
    twice = 2 if scored > 1 else 1
    return Calls(count=count, rows=twice * items / count, prefix=prefix, own=own, scored=scored)


def _calibration(asked: Asked) -> Workload:
    """Each planted question is asked by the method for its kind; one of a kind that the stage does not write, by none."""
    sets, methods = [*asked.values["shots"].values(), asked.values.get("planted", ())], asked.settings["methods"]
    kinds = [kind_of(question, asked.values["kinds"]) for examples in sets for question, _ in examples]
    of = Counter(methods.get(kind) for kind in kinds)
    calls = []
    if of["agreement"]:
        each, most = float(asked.settings["num_candidates"]), float(asked.settings["sampling"]["max_tokens"])
        count = float(sum(1 for examples in sets if examples)) * 1.5
        calls.append(
            Calls(
                count=count, rows=of["agreement"] * each / count, prefix=SHOTS_TOKENS, own=15, out=min(ANSWER_TOKENS, most),
                longest=min(24.0, most), texts=1 / each,
            )
        )  # fmt: skip
    if scored := 3 * of["fewshot_logprob"] + 6 * of["relevance"]:
        calls.append(_scoring(scored, 4, SHOTS_TOKENS, 23))
    if of["critic"]:
        calls.append(_scoring(6 * of["critic"], 2, 100, JUDGED_TOKENS, 1))
    return Workload(calls=calls, records=3 * len(kinds))


def _critic_calibration(asked: Asked) -> Workload:
    planted = sum(map(len, asked.values["examples"].values()))
    return Workload(calls=[_scoring(2 * planted, 1, 0, JUDGED_TOKENS, 1)], records=1)


def _prompts(asked: Asked) -> Workload:
    return Workload(records=asked.count("instructions") + sum(asked.settings["num_committed"].values()))


def _originals(asked: Asked) -> Workload:
    number, size = asked.count("prompts"), float(asked.settings["shard_size"])
    calls = Calls(count=math.ceil(number / size), rows=min(size, number), own=16, out=10, longest=40)
    return Workload(calls=[calls], records=number)


def _groups(asked: Asked, number: float) -> float:
    """Calls of stage 6's critic and reviser: one a shard and one more wherever the principle changes."""
    principles = len(asked.values["principles"])
    return math.ceil(number / float(asked.settings["shard_size"])) + min(2.0 * principles, number / 2)


def _critiques(asked: Asked) -> Workload:
    number = asked.count("originals")
    count = _groups(asked, number)
    calls = Calls(count=count, rows=number / count, prefix=435, own=25, out=12, longest=25)
    return Workload(calls=[calls], records=number)


def _revisions(asked: Asked) -> Workload:
    number, each = asked.count("critiques"), float(asked.settings["num_candidates"])
    count, shards = _groups(asked, number), math.ceil(number / float(asked.settings["shard_size"]))
    revised = Calls(count=count, rows=number * each / count, prefix=635, own=38, out=17, longest=40, texts=1 / each)
    declined = Calls(count=shards, rows=number * _OVER_REFUSED / shards, prefix=300, own=16, out=15, longest=35)
    return Workload(calls=[revised, declined], records=number, disk_bytes=number * 9000)


def _revision_verdicts(asked: Asked) -> Workload:
    # One a prompt, as where the critic has no vote; where it has one, all that are fit, of which no plan knows.
    number = asked.count("revisions")
    return Workload(calls=[_scoring(2 * number, asked.count("revisions") / 60, 0, JUDGED_TOKENS, 1)], records=number)


def _kept(asked: Asked) -> Workload:
    of = "revisions" if "revisions" in asked.counts else "instructions"
    return Workload(records=KEPT_SHARE.get(asked.stage, 0.6) * asked.count(of), disk_bytes=1000 * asked.count(of))


def _constructed(asked: Asked) -> Workload:
    """Committed cases give most of the tasks: of stage 4 each label is asked twice, once the other way round."""
    construction, values = asked.config.stage.construction, asked.values
    kept = sum(value for name, value in asked.counts.items() if name.startswith("kept"))
    assert construction is not None  # its stage constructs
    cases = sum(map(len, values["conduct"].values())) if "conduct" in values else len(values.get("sentences", ()))
    worked = len(values.get("worked", ()))
    if construction.num_cases:
        worked = min(worked, construction.num_cases)
    twice = 2 if "conduct" in values else 1
    # Measured: 8,646 tasks of 1,570 and 1,440 cases in stage 4, 2,050 of 1,570 and 689 in stage 5.
    tasks_made = (
        construction.num_per_case * (0.72 * twice * worked + 0.72 * twice * cases) if twice == 2 else 0.7 * (worked + cases)
    )
    return Workload(records=tasks_made + TASKS_PER_ANSWER.get(asked.stage, 0.3) * kept)


def _rejected(asked: Asked) -> Workload:
    mix, kept, size = asked.settings["rejected_mix"], asked.count("kept"), float(asked.settings["shard_size"])
    most = float(asked.settings["zero_shot"]["max_tokens"])
    out = ANSWER_TOKENS if asked.trained else most
    calls = []
    for share, written in ((mix.get("zero_shot", 0), out), (mix.get("rambling", 0), 2.0 if asked.trained else most)):
        number = math.ceil(share * kept)
        if number:
            rows = min(size, number)
            calls.append(Calls(count=number / rows, rows=rows, own=18, out=written, longest=min(most, 3 * written)))
    if mix.get("refusal", 0):
        calls.append(Calls(count=3, rows=40, own=110, out=12 if asked.trained else 100, longest=60 if asked.trained else 120))
    return Workload(calls=calls, records=sum(call.count * call.rows for call in calls))


def _pairs(asked: Asked) -> Workload:
    return Workload(records=asked.count("kept") + asked.count("earlier"))


TRAINED_LENGTHS = {"evaluation": (42.0, 3.0, 3.2), "revision": (24.0, 9.4, 10.7), "constitutional": (24.5, 10.8, 15.5)}
"""Tokens of a pair's prompt, chosen and rejected response, mean of what was trained."""
_OTHER_LENGTHS = (15.0, 8.0, 12.0)
_BASE_LENGTHS = (15.0, 8.0, 26.5)
"""Of the first stage, which rejects what a base model runs on with."""
_GROUPED = 0.79
"""`Workload.computed` where two tasks of a group lie side by side (`training.packing`). In a sample of stage 4's pairs 9,109 of
11,968 padded tokens were left (docs/log.md, 2026-11-23); of the latter 3.5 % are taken for padding, as in stages 1 to 3."""
_WIDEST = 2.5
"""Of the longest pair, as a multiple of the mean."""


def _adapter(asked: Asked) -> Workload:
    train = asked.config.train
    own, replayed = asked.count("pairs"), any(name.startswith("replay_") for name in asked.counts)
    pairs = own / (1 - train.replay) if replayed else own
    lengths = TRAINED_LENGTHS.get(asked.stage, _OTHER_LENGTHS if asked.trained else _BASE_LENGTHS)
    seen = pairs * train.num_epochs
    grouped = asked.stage == "evaluation"  # groups have no reference, and what is only kept likely has none
    neighbours = grouped and train.micro_batch_size > 1
    return Workload(
        pairs=seen,
        tokens=seen * sum(lengths),
        computed=_GROUPED if neighbours else 1.0,
        scored=seen * (lengths[1] + lengths[2]),
        referenced=0.0 if grouped or train.method != "dpo" else 1 / train.num_epochs,
        epochs=train.num_epochs,
        width=min(train.max_length, round(_WIDEST * sum(lengths))),
    )


def _drift(asked: Asked) -> Workload:
    number = float(len(asked.values["instructions"]))
    written = Calls(count=1, rows=number, own=15, out=6, longest=30)
    read = Calls(count=1, rows=number, own=22, scored=7)
    return Workload(calls=[written, read], also=[("base", read)], records=number)


def _audit(_: Asked) -> Workload:
    return Workload(calls=[Calls(count=4, rows=4, own=20, out=12, longest=16)], records=1)


def _screened(asked: Asked) -> Workload:
    return Workload(records=asked.count("kept"))


def _scored(asked: Asked) -> Workload:
    return Workload(records=asked.count("outputs"))


def _nothing(_: Asked) -> Workload:
    return Workload(records=1)


WORKLOADS: dict[str, Callable[[Asked], Workload]] = {
    "prepare_base": _nothing,
    "audit_model": _audit,
    "write_outputs": _outputs,
    "score_outputs": _scored,
    "decide_gap": _nothing,
    "make_instructions": _instructions,
    "draft_candidates": _candidates,
    "judge_candidates": _verdicts,
    "calibrate": _calibration,
    "calibrate_critic": _critic_calibration,
    "gather_prompts": _prompts,
    "write_originals": _originals,
    "write_critiques": _critiques,
    "write_revisions": _revisions,
    "judge_revisions": _revision_verdicts,
    "keep_best": _kept,
    "keep_diverse": _kept,
    "keep_revisions": _kept,
    "screen": _screened,
    "construct_judgements": _constructed,
    "construct_revisions": _constructed,
    "write_rejected": _rejected,
    "judge_pilot": _nothing,
    "make_pairs": _pairs,
    "train_adapter": _adapter,
    "merge_adapter": _nothing,
    "measure_drift": _drift,
}
"""By the name of a step's function. A function that is not here works without a model, and its figures are none."""


def workload(function: str, asked: Asked) -> Workload:
    """What a step will do, by the name of its function (with or without its module). Its records are counted as disk too."""
    name = function.rpartition(".")[2]
    if name not in WORKLOADS:
        return Workload(records=max(asked.counts.values(), default=0.0))
    found = WORKLOADS[name](asked)
    return dataclasses.replace(found, disk_bytes=found.disk_bytes + found.records * _RECORD_BYTES)
