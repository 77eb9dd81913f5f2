"""Make instructions: the base model continues numbered lists of examples and of what it has kept so far.

A list holds one form of one kind («questions about something»). Without forms a base model writes what is easiest to go on
with: of 126 instructions of one kind 87 began «Write a sentence» and two asked for a question.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import InstructionsConfig, SamplingConfig
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.evals import messages
from cai_bootstrap.records import Prompt
from cai_bootstrap.steps.duplicates import DuplicateIndex, Fingerprint
from cai_bootstrap.steps.kinds import WRITTEN, asks_for, body
from cai_bootstrap.steps.shards import start_engine
from cai_bootstrap.steps.wellformed import malformed
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_NUM_EXAMPLES = 8
_NUM_FROM_SEEDS = 5
"""Most examples stay hand-written: lists that feed on themselves drift."""
_NEARLY_ALL = 0.95
"""Share of the instructions asked for from which a dry pool is no failure: its last few forms may hold no more."""
_YIELD_WINDOW = 4
"""Shards over which the yield is taken."""

_MAX_FORM_SHARE = 1.5
"""Of a form's even share of its kind: a hard form may fall behind, an easy one may not take over."""
_SHARDS_TO_MAX_FORM_SHARE = 8
"""At first no form may have more than its even share: an easy one would have filled the kind before a hard one comes."""

_MIN_SHARED = 3
"""Words that show a form: «Write a question»."""

_TYPE_WORDS = frozenset(
    """question fact statement true truth example request instruction write generate create make up give state tell say ask
    politely polite one short simple something somebody someone come think begin start quiz yes answer explain
    greeting farewell apology warning promise invitation compliment wish complaint excuse""".split()
)
"""Words of stage 3's instructions that stand in every one of a form."""


@dataclass
class _Pool:
    """What has been kept, and everything that a new instruction must not repeat."""

    config: InstructionsConfig
    heldout: DuplicateIndex
    seeds: dict[str, dict[str, list[str]]]
    previous: Sequence[str]
    seen: dict[tuple[str, str], DuplicateIndex] = field(default_factory=dict)
    """What is not to be repeated: of each form by which something is to be written, and of all else (`_seen`)."""
    said: set[int] = field(default_factory=set)
    """Every instruction kept, whatever its form, as its fingerprint's `exact`."""
    beginnings: dict[str, dict[tuple[str, ...], list[str]]] = field(init=False)
    """By kind: the forms of which a seed begins with these words."""
    kept: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    openings: Counter[str] = field(default_factory=Counter)
    topics: Counter[str] = field(default_factory=Counter)
    shard: int = 0
    """The number of the shard that is being made."""
    fresh: list[dict[str, Any]] = field(default_factory=list)
    """The rows of the shard that was made just now, whose instructions were kept on the way."""

    def __post_init__(self) -> None:
        self.beginnings = {kind: _beginnings(forms) for kind, forms in self.seeds.items()}
        for kind, forms in self.seeds.items():
            for form, seeds in forms.items():
                self._seen(kind, form).add(seeds)

    def _seen(self, kind: str, form: str) -> DuplicateIndex:
        """«Describe a lake.» and «Write a question about a lake.» are two tasks; a question is one in whatever words."""
        key = (kind, form) if asks_for(kind) == "generate" else ("", "")
        if key not in self.seen:
            self.seen[key] = DuplicateIndex(self.config.near_duplicate_similarity)
            self.seen[key].add(self.previous)
        return self.seen[key]

    def wanted(self, kind: str) -> int:
        return round(self.config.num_instructions * self.config.kind_shares[kind])

    def num_kept(self, kind: str) -> int:
        return sum(map(len, self.kept.get(kind, {}).values()))

    def missing(self, kind: str) -> int:
        return max(0, self.wanted(kind) - self.num_kept(kind))

    def missing_of(self, kind: str, form: str) -> int:
        """How many of a form may still be kept."""
        share = 1 + (_MAX_FORM_SHARE - 1) * min(1.0, self.shard / _SHARDS_TO_MAX_FORM_SHARE)
        most = math.ceil(share * self.wanted(kind) / len(self.seeds[kind]))
        return max(0, most - len(self.kept.get(kind, {}).get(form, [])))

    def form_of(self, kind: str, text: str, asked: str) -> str:
        """The form that was asked for, unless `text` begins as another form's seeds do and not as its own.

        What wants a reply is of the sort that its words tell, "" for one of none or of one without seeds.
        """
        if asks_for(kind) == "respond":
            sort = messages.sort_of(body(kind, text), asked)
            return sort if sort in self.seeds[kind] else ""
        words, alike = tuple(text.split()), [asked]
        for size in range(_MIN_SHARED, len(words) + 1):
            found = self.beginnings[kind].get(words[:size])
            if found is None:
                break
            alike = found
        return asked if asked in alike else alike[0]

    def complete(self) -> bool:
        return not any(self.missing(kind) for kind in self.config.kind_shares)

    def take(self, kind: str, form: str, text: str) -> str:
        """Keep an instruction and return "", or return why it is not taken."""
        reason = malformed(kind, text, self.config)
        if reason:
            return reason
        if not form:
            return "not of its form"
        if not self.missing(kind):
            return "enough of this kind"
        if not self.missing_of(kind, form):
            return "enough of this form"
        mark = Fingerprint.of(text)
        if found := self.heldout.find_fingerprint(mark):
            return f"held-out ({found})"
        if found := "exact" if mark.exact in self.said else self._seen(kind, form).find_fingerprint(mark):
            return f"duplicate ({found})"
        limit = max(2, round(self.config.max_share_per_topic * self.config.num_instructions))
        if asks_for(kind) == "answer" and self.openings[_opening(text)] >= limit:
            return "opening is full"
        if any(self.topics[word] >= limit for word in _topic(kind, mark)):
            return "topic is full"
        self.keep(kind, form, text, mark)
        return ""

    def keep(self, kind: str, form: str, text: str, mark: Fingerprint) -> None:
        self.kept.setdefault(kind, {}).setdefault(form, []).append(text)
        self._seen(kind, form).add_fingerprint(mark)
        self.said.add(mark.exact)
        self.topics.update(_topic(kind, mark))
        if asks_for(kind) == "answer":
            self.openings[_opening(text)] += 1


def _topic(kind: str, mark: Fingerprint) -> frozenset[str]:
    """The content words that tell what an instruction is about, without those that tell what is to be written."""
    return mark.words - _TYPE_WORDS if kind in WRITTEN else mark.words


def parse_list(text: str, first_number: int) -> list[str]:
    """The entries of a continued numbered list; the last one is left out when the text was cut inside it."""
    entries: list[str] = []
    for offset, line in enumerate(text.split("\n")):
        match = re.match(rf"^\s*{first_number + offset}\.\s+(.*)$", line) if offset else re.match(r"^\s*(.*)$", line)
        if not match or not match.group(1).strip():
            break
        entries.append(match.group(1).strip())
    return entries


@step(version=12)
def make_instructions(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    seeds: dict[str, dict[str, list[str]]],
    heldout: list[str],
    previous: list[str],
) -> None:
    """Instructions of all kinds, deduplicated while they are made; what was dropped is kept with its reason.

    `seeds` maps kinds to forms to hand-written examples, `heldout` are all suites' instructions, `previous` what earlier rounds
    kept. A warning says so where the yield falls under the floor with nearly all of them kept. Raises StepFailed where it does
    with more missing, UserError for an empty seed pool.
    """
    settings = {key: value for key, value in work.settings.items() if key not in ("engine", "dtype")}
    shares = {kind: share for kind, share in settings["kind_shares"].items() if share}
    config = InstructionsConfig(**{**settings, "kind_shares": shares, "sampling": SamplingConfig(**settings["sampling"])})
    for kind in shares:
        if not seeds.get(kind) or not all(seeds[kind].values()):
            raise UserError(f"the seed pool has no instructions of kind {kind!r}: write some under instructions.{kind}")
    pool = _Pool(config, DuplicateIndex(config.near_duplicate_similarity), seeds, previous)
    pool.heldout.add(heldout)
    engine = start_engine(work, session, model)
    yields: list[float] = []
    with work.progress.task("instructions", config.num_instructions) as task:
        index = 0
        while not pool.complete():
            pool.shard, pool.fresh = index, []
            work.shard(index, lambda seed: _one_shard(seed, engine.generate, config, pool))
            made = pool.fresh or list(work.rows_of([index]))
            for row in made if not pool.fresh else ():  # committed by an earlier process
                if not row["reason"]:
                    pool.keep(row["kind"], row["form"], row["instruction"], Fingerprint.of(row["instruction"]))
            useful = [row for row in made if not row["reason"].startswith("enough")]
            yields.append(sum(not row["reason"] for row in useful) / max(1, len(useful)))
            recent = yields[-_YIELD_WINDOW:]
            index += 1
            num_kept = sum(map(pool.num_kept, pool.kept))
            task.update(num_kept)
            if len(recent) < _YIELD_WINDOW or sum(recent) / _YIELD_WINDOW >= config.min_yield:
                continue
            told = f"only {sum(recent) / _YIELD_WINDOW:.1%} of the last instructions were new and well formed"
            if num_kept >= _NEARLY_ALL * config.num_instructions:
                work.warn(f"{told}: {num_kept} of {config.num_instructions} instructions were kept")
                break
            raise StepFailed(
                f"{told}, under the floor of {config.min_yield:.1%}, with {num_kept} of {config.num_instructions} kept: add "
                "seeds, or lower stage.instructions.num_instructions"
            )
    work.drop([])
    for row in work.rows_of(range(index)):
        if row["reason"]:
            work.drop([row])
    work.write_rows("records.jsonl", _as_prompts(work, index, list(config.kind_shares)))


def _as_prompts(work: Work, num_shards: int, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The kept rows of all shards as Prompts, kind after kind: those of a kind are answered after the same worked examples."""
    number = itertools.count()
    for kind in kinds:
        for row in work.rows_of(range(num_shards)):
            if not row["reason"] and row["kind"] == kind:
                yield Prompt(
                    id=f"{work.digest[:8]}-{next(number):05d}",
                    kind=kind,
                    instruction=row["instruction"],
                    source=f"form {row['form']}, shard {row['shard']}, seed {row['seed']}",
                ).to_row()


def _one_shard(seed: int, generate: Any, config: InstructionsConfig, pool: _Pool) -> list[dict[str, Any]]:
    """The shard's rows, kept or dropped; `pool` has taken in what is kept."""
    rng = random.Random(seed)
    forms = [(kind, form) for kind in config.kind_shares for form in pool.seeds[kind]]
    # A kind is asked for as much of it is missing, its forms by what each may still have.
    weights = []
    for kind, form in forms:
        room = sum(pool.missing_of(kind, other) for other in pool.seeds[kind])
        weights.append(pool.missing(kind) * pool.missing_of(kind, form) / max(1, room))
    asked = rng.choices(forms, weights=weights, k=config.requests_per_shard)
    requests = [
        _request(rng, kind, config, pool.seeds[kind][form], pool.kept.get(kind, {}).get(form, [])) for kind, form in asked
    ]
    rows: list[dict[str, Any]] = []
    for (kind, asked_form), request, generation in zip(asked, requests, generate(requests), strict=True):
        entries = parse_list(generation.text, _NUM_EXAMPLES + 1)
        if generation.finish == "length":
            entries = entries[:-1]
        for text in entries:
            form = pool.form_of(kind, text, asked_form)
            rows.append(
                {
                    "kind": kind,
                    "form": form or asked_form,
                    "instruction": text,
                    "reason": pool.take(kind, form, text),
                    "step": "instructions",
                    "shard": pool.shard,
                    "seed": request.seed,
                }
            )
    pool.fresh = rows
    return rows


def _request(
    rng: random.Random, kind: str, config: InstructionsConfig, seeds: Sequence[str], kept: Sequence[str]
) -> GenerationRequest:
    num_kept = min(len(kept), _NUM_EXAMPLES - min(_NUM_FROM_SEEDS, len(seeds)))
    examples = rng.sample(list(seeds), min(len(seeds), _NUM_EXAMPLES - num_kept)) + rng.sample(list(kept), num_kept)
    while len(examples) < _NUM_EXAMPLES:  # a pool smaller than a list
        examples.append(rng.choice(list(seeds)))
    rng.shuffle(examples)
    return GenerationRequest(
        prompt=templates.instruction_list(kind, examples),
        max_tokens=config.sampling.max_tokens,
        stop=("\n\n",),
        temperature=config.sampling.temperature,
        top_k=config.sampling.top_k,
        top_p=config.sampling.top_p,
        seed=rng.getrandbits(32),
    )


def _beginnings(forms: dict[str, list[str]]) -> dict[tuple[str, ...], list[str]]:
    """The forms that have a seed with these first words, of at least as many as show a form."""
    found: dict[tuple[str, ...], list[str]] = {}
    for form, seeds in forms.items():
        for words in (tuple(seed.split()) for seed in seeds):
            for size in range(_MIN_SHARED, len(words) + 1):
                having = found.setdefault(words[:size], [])
                if form not in having:
                    having.append(form)
    return found


def _opening(text: str) -> str:
    return " ".join(text.removeprefix("Answer this: ").split()[:4]).lower()
