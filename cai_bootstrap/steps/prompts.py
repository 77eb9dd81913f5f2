"""Make instructions: the base model continues numbered lists of examples and of what it has kept so far."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cai_bootstrap import templates
from cai_bootstrap.config import InstructionsConfig, SamplingConfig
from cai_bootstrap.engines.engine import GenerationRequest
from cai_bootstrap.engines.session import Session
from cai_bootstrap.errors import StepFailed, UserError
from cai_bootstrap.evals import english
from cai_bootstrap.records import Prompt
from cai_bootstrap.steps.duplicates import DuplicateIndex, content_words
from cai_bootstrap.store.artifacts import Artifact
from cai_bootstrap.store.run import Work, step

_NUM_EXAMPLES = 8
_NUM_FROM_SEEDS = 5
"""Most examples stay hand-written: lists that feed on themselves drift."""
_YIELD_WINDOW = 4
"""Shards over which the yield is taken."""

_OPENINGS = {
    "answer": re.compile(
        r"^(?:Answer this: )?(?:What|Which|Who|Where|When|In which|On which|How many|Is|Are|Do|Does|Can|Name|Give)\b"
    ),
    "complete": re.compile(r"^(?:Complete|Finish)(?: the| this)?(?: sentence| phrase| proverb| saying)?: \S"),
    "generate": re.compile(r"^(?:Generate|Write|Describe|Give|Name|Make up|Ask)\b"),
    "respond": re.compile(r"^Respond to: \S"),
}
_NEEDS_CONTEXT = re.compile(
    r"\b(?:pictures?|photos?|images?|drawings?|below|above|following|passage|text|paragraph|diagram|chart|table|"
    r"these|those|this (?:sentence|word|phrase|story|picture|letter|question|list|one|thing|person|animal)|underlined|blank)\b",
    re.IGNORECASE,
)
_PERSONAL = re.compile(r"\b(?:your|you|my|his|her|their|our|favou?rite|he|she|they|we|i|me|us)\b", re.IGNORECASE)
_IMPERSONAL_YOU = re.compile(r"\b(?:do|can|would|should) you (?:use|wear|put|buy|find|see|need|hear|keep|call)\b")
_LONG_TASK = re.compile(
    r"\b(?:story|poem|essay|song|letter|paragraph|list|summary|speech|report|play|poster|article|dialogue|conversation|"
    r"sentences|questions|words|names|titles|two|three|four|five|ten|draw|collage|recipe|page|book|novel|comic|riddle|rhyme|joke|map)\b",
    re.IGNORECASE,
)
_TITLE = re.compile(r"\btitle\b", re.IGNORECASE)


@dataclass
class _Pool:
    """What has been kept, and everything that a new instruction must not repeat."""

    config: InstructionsConfig
    heldout: DuplicateIndex
    seen: DuplicateIndex
    kept: dict[str, list[str]] = field(default_factory=dict)
    openings: Counter[str] = field(default_factory=Counter)
    topics: Counter[str] = field(default_factory=Counter)

    def wanted(self, kind: str) -> int:
        return round(self.config.num_instructions * self.config.kind_shares[kind])

    def missing(self, kind: str) -> int:
        return max(0, self.wanted(kind) - len(self.kept.get(kind, [])))

    def complete(self) -> bool:
        return not any(self.missing(kind) for kind in self.config.kind_shares)

    def reason_to_drop(self, kind: str, text: str) -> str:
        """Why an instruction is not taken; empty when it is."""
        reason = malformed(kind, text, self.config)
        if reason:
            return reason
        if not self.missing(kind):
            return "enough of this kind"
        if found := self.heldout.find(text):
            return f"held-out ({found})"
        if found := self.seen.find(text):
            return f"duplicate ({found})"
        limit = max(2, round(self.config.max_share_per_topic * self.config.num_instructions))
        if kind == "answer" and self.openings[_opening(text)] >= limit:
            return "opening is full"
        if any(self.topics[word] >= limit for word in content_words(text)):
            return "topic is full"
        return ""

    def keep(self, kind: str, text: str) -> None:
        self.kept.setdefault(kind, []).append(text)
        self.seen.add([text])
        self.openings[_opening(text)] += 1
        self.topics.update(content_words(text))


def malformed(kind: str, text: str, config: InstructionsConfig) -> str:
    """Why a line is no usable instruction of its kind; empty when it is one."""
    num_words = len(text.split())
    if num_words < config.min_words:
        return "too short"
    if num_words > config.max_words:
        return "too long"
    if not _OPENINGS[kind].match(text):
        return "wrong opening for its kind"
    if not text.isascii() or re.search(r"[\[\]<>{}()_|*#=\\\"/]|\.\.\.|--|http", text):
        return "malformed"
    if _NEEDS_CONTEXT.search(text):
        return "needs context"
    if english.is_loop(text):
        return "loop"
    body = text.split(": ", 1)[1] if re.match(r"(?:Answer|Complete|Finish|Respond)[^:]*: ", text) else text
    if kind == "answer":
        asks = body.endswith("?") or (re.match(r"(?:Name|Give)\b", body) and body.endswith("."))
        if not asks or body.count("?") > 1 or num_words < 4:
            return "not a question"
        if _PERSONAL.search(_IMPERSONAL_YOU.sub("", body)):
            return "personal or unclear reference"
    if kind == "complete":
        if len(body.split()) < 2 or re.search(r"[.!?;:]$", body):
            return "nothing to complete"
        if not body.endswith(",") and len(content_words(body)) < 1:
            return "open to any ending"
    if kind == "generate":
        if not re.search(r"[a-z]\.$", text):
            return "malformed"
        if _LONG_TASK.search(text) and not _TITLE.search(text):
            return "asks for a long text"
        if _PERSONAL.search(text):
            return "personal or unclear reference"
    if kind == "respond" and (len(body.split()) < 2 or body == body.lower()):
        return "too short"
    return ""


def parse_list(text: str, first_number: int) -> list[str]:
    """The entries of a continued numbered list; the last one is left out when the text was cut inside it."""
    entries: list[str] = []
    for offset, line in enumerate(text.split("\n")):
        match = re.match(rf"^\s*{first_number + offset}\.\s+(.*)$", line) if offset else re.match(r"^\s*(.*)$", line)
        if not match or not match.group(1).strip():
            break
        entries.append(match.group(1).strip())
    return entries


@step(version=1)
def make_instructions(
    work: Work,
    *,
    session: Session,
    model: Artifact,
    seeds: dict[str, list[str]],
    heldout: list[str],
    previous: list[str],
) -> None:
    """Instructions of all kinds, deduplicated while they are made; what was dropped is kept with its reason.

    `seeds` maps kinds to hand-written examples, `heldout` are all suites' instructions, `previous` what earlier rounds
    kept. Raises StepFailed when the yield falls under the floor, UserError for an empty seed pool.
    """
    settings = {key: value for key, value in work.settings.items() if key not in ("engine", "dtype")}
    config = InstructionsConfig(**{**settings, "sampling": SamplingConfig(**settings["sampling"])})
    for kind in config.kind_shares:
        if not seeds.get(kind):
            raise UserError(f"the seed pool has no instructions of kind {kind!r}: write some under instructions.{kind}")
    index_of = config.near_duplicate_similarity
    pool = _Pool(config, DuplicateIndex(index_of), DuplicateIndex(index_of))
    pool.heldout.add(heldout)
    pool.seen.add([text for texts in seeds.values() for text in texts])
    pool.seen.add(previous)
    engine = session.engine(model.path / "model")
    work.record_engine(engine.description)
    rows: list[dict[str, Any]] = []
    yields: list[float] = []
    with work.progress.task("instructions", config.num_instructions) as task:
        index = 0
        while not pool.complete():
            made = work.shard(index, lambda seed, n=index: _one_shard(seed, engine.generate, config, seeds, pool, n))  # type: ignore[misc]
            for row in made:
                if not row["reason"]:
                    pool.keep(row["kind"], row["instruction"])
            rows += made
            useful = [row for row in made if row["reason"] != "enough of this kind"]
            yields.append(sum(not row["reason"] for row in useful) / max(1, len(useful)))
            recent = yields[-_YIELD_WINDOW:]
            if len(recent) == _YIELD_WINDOW and sum(recent) / _YIELD_WINDOW < config.min_yield:
                raise StepFailed(
                    f"only {sum(recent) / _YIELD_WINDOW:.1%} of the last instructions were new and well formed, under the "
                    f"floor of {config.min_yield:.1%}, with {sum(map(len, pool.kept.values()))} of "
                    f"{config.num_instructions} kept: add seeds, or lower stage.instructions.num_instructions"
                )
            index += 1
            task.update(sum(map(len, pool.kept.values())))
    kept = [row for row in rows if not row["reason"]]
    work.write_rows(
        "records.jsonl",
        [
            Prompt(
                id=f"{work.digest[:8]}-{number:05d}",
                kind=row["kind"],
                instruction=row["instruction"],
                source=f"shard {row['shard']}, seed {row['seed']}",
            ).to_row()
            for number, row in enumerate(kept)
        ],
    )
    work.drop([row for row in rows if row["reason"]])


def _one_shard(
    seed: int, generate: Any, config: InstructionsConfig, seeds: dict[str, list[str]], pool: _Pool, shard: int
) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    missing = {kind: pool.missing(kind) for kind in config.kind_shares}
    kinds = rng.choices(list(missing), weights=list(missing.values()), k=config.requests_per_shard)
    requests = [_request(rng, kind, config, seeds[kind], pool.kept.get(kind, [])) for kind in kinds]
    rows: list[dict[str, Any]] = []
    local = _Pool(config, pool.heldout, DuplicateIndex(config.near_duplicate_similarity))
    local.kept = {kind: list(texts) for kind, texts in pool.kept.items()}
    local.openings, local.topics = Counter(pool.openings), Counter(pool.topics)
    for kind, request, generation in zip(kinds, requests, generate(requests), strict=True):
        entries = parse_list(generation.text, _NUM_EXAMPLES + 1)
        if generation.finish == "length":
            entries = entries[:-1]
        for text in entries:
            reason = local.reason_to_drop(kind, text)
            if not reason and (found := pool.seen.find(text)):
                reason = f"duplicate ({found})"
            if not reason:
                local.keep(kind, text)
            rows.append(
                {
                    "kind": kind,
                    "instruction": text,
                    "reason": reason,
                    "step": "instructions",
                    "shard": shard,
                    "seed": request.seed,
                }
            )
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


def _opening(text: str) -> str:
    return " ".join(text.removeprefix("Answer this: ").split()[:4]).lower()
