"""A million records through the data path: how fast each step takes them, and how much memory it holds at most.

    PYTHONPATH=tests python -m benchmarks.million [--records 1000000] [--root FOLDER]

Four candidates each of a quarter as many instructions are filtered and become pairs; the instructions come out of lists that
a scripted engine continues, as far as the step asks for them. The lines are the committed seeds with other words from the
seeds and the held-out items in them, drawn as often as they stand there, so they repeat themselves as a model's do.
A step's rate counts the records that it takes in: lines of lists, candidates, kept answers.
Each step runs in a process of its own; what the model would write is made beforehand and is in no figure.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from benchmarks import isolated, pairing
from cai_bootstrap.records import FinishReason

if TYPE_CHECKING:
    from cai_bootstrap.engines.engine import Engine
    from cai_bootstrap.store.work import Progress

_STOP: FinishReason = "stop"
_NUM_CANDIDATES = 4
_ENTRIES = 8
"""Lines of a continued list."""
_SPOILED: dict[FinishReason, str] = {
    "length": "{} and the other one and",
    "stop": "I cannot answer that.",
    "eos": "{0}, {0}, {0}, {0}",
}
_LINE = 160
"""Bytes of a line in its file, spaces and newline with it: where one begins is known without reading those before it."""
_SHARES = {"answer": 0.4, "complete": 0.3, "generate": 0.3, "respond": 0.0}
_REQUESTS_PER_SHARD = 2400
"""A shard is flushed to the disk: of a million lines only so many that this is no benchmark of the disk."""


def write_lines(folder: Path, num_lines: int) -> None:
    """What a model would write when it continues the lists: a file for each kind."""
    from data_path import HELDOUT, SEEDS

    from cai_bootstrap.steps.duplicates import content_words

    forms = {kind: list(itertools.chain(*groups.values())) for kind, groups in SEEDS["instructions"].items()}
    known = [word for text in [*itertools.chain(*forms.values()), *HELDOUT] for word in re.findall(r"[a-z]{3,}", text)]
    words = [word for word in known if content_words(word)]
    rng = random.Random(1)
    for kind, seeds in forms.items():
        frames = [[part if not content_words(part) else None for part in re.split(r"(\b[a-z]{3,}\b)", text)] for text in seeds]
        with (folder / f"{kind}.txt").open("w") as file:
            for _ in range(num_lines):
                text = "".join(part or rng.choice(words) for part in rng.choice(frames))
                file.write(text[: _LINE - 1].ljust(_LINE - 1) + "\n")


def write_answers(root: Path, folder: Path) -> None:
    """Candidates, verdicts, and what is rejected: as a model and its critic would leave them."""
    from data_path import KNOWN, SEEDS

    from cai_bootstrap import templates
    from cai_bootstrap.records import Completion, Verdict
    from cai_bootstrap.steps.duplicates import content_words
    from cai_bootstrap.store.run import Run

    shots = [(question, answer) for question, answer in SEEDS["shots"][sorted(SEEDS["shots"])[0]]]
    answers: list[str] = list(KNOWN.values())
    rng = random.Random(2)

    def answer(instruction: str) -> str:
        told = sorted(content_words(instruction)) or ["thing"]
        if instruction.startswith(("Write", "Describe", "Generate")):
            return f"The {rng.choice(told)} is near the old {rng.choice(told)} in the {rng.choice(answers).split()[0].lower()}."
        return rng.choice(answers)

    def candidates(instructions: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in instructions:
            best = answer(row["instruction"])
            for number in range(_NUM_CANDIDATES):
                text, finish = (best if rng.random() < 0.6 else answer(row["instruction"])), _STOP
                if rng.random() < 0.25:
                    finish, spoil = rng.choice(list(_SPOILED.items()))
                    text = spoil.format(text)
                yield Completion(
                    id=f"{row['id']}-{number}", prompt_id=row["id"], text=text, finish=finish, num_tokens=6, logprob=-4.5,
                    rendered_prompt=templates.few_shot(shots, row["instruction"]), seed=rng.getrandbits(32),
                ).to_row()  # fmt: skip

    def verdicts(instructions: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in instructions:
            for number in range(_NUM_CANDIDATES):
                share = rng.choice([0.25, 0.5, 0.75, 1.0])
                scores = {"fewshot_logprob": -rng.random(), "agreement": share, "relevance": share}
                yield Verdict(prompt_id=row["id"], completion_id=f"{row['id']}-{number}", scores=scores).to_row()

    with Run(root, "million") as run:
        instructions = run.artifact("explicit", "instructions")
        assert instructions is not None
        made = {"candidates": candidates(instructions.iter_rows()), "verdicts": verdicts(instructions.iter_rows())}
        for name, rows in made.items():
            _given(run, name, {"records.jsonl": rows}, inputs={"instructions": instructions})


def write_rejected(root: Path, folder: Path) -> None:
    """Zero-shot outputs and run-ons, for the instructions that the step itself would have asked for them."""
    from cai_bootstrap.store.run import Run

    mix, rng = _config().stage.pairs.rejected_mix, random.Random(3)

    def rows(kept: Iterator[dict[str, Any]], share: float) -> Iterator[dict[str, Any]]:
        for row in kept:
            if rng.random() < share:
                yield {"prompt_id": row["prompt_id"], "text": " I think that it is " * 5, "finish": "length", "seed": 1}

    with Run(root, "million") as run:
        kept = run.artifact("explicit", "kept")
        assert kept is not None
        files = {
            "zero_shot.jsonl": rows(kept.iter_rows(), mix["zero_shot"]),
            "run_on.jsonl": rows(kept.iter_rows(), mix["rambling"]),
            "refusals.json": [f"I cannot help with number {number}." for number in range(60)],
        }
        _given(run, "rejected", files, inputs={"kept": kept})


def run_step(root: Path, folder: Path, name: str, progress: Progress | None = None) -> dict[str, Any]:
    """Seconds of one step, its rows by file, and how much memory the process held before it and at most.

    `resumed_after_s` are the seconds until a model was first asked, for a step that one is asked in.
    """
    from data_path import HELDOUT, SEEDS, some_model
    from scripted import ScriptedSession

    from cai_bootstrap import stages
    from cai_bootstrap.config import to_dict
    from cai_bootstrap.steps.pair import make_pairs
    from cai_bootstrap.steps.prompts import make_instructions
    from cai_bootstrap.store.run import Run
    from cai_bootstrap.store.runner import bind

    stage, config, engine = stages.load("explicit"), _config(), Lists(folder)
    c = to_dict(config.stage)
    with Run(root, "million", progress) as run:
        model = some_model(run)
        made = {key: run.artifact("explicit", key) for key in ("instructions", "candidates", "verdicts", "kept", "rejected")}
        records = int(json.loads((folder / "size.json").read_text()))
        per_shard = min(_REQUESTS_PER_SHARD, records // 400)
        settings = {**c["instructions"], "num_instructions": records // _NUM_CANDIDATES, "requests_per_shard": per_shard}
        steps: dict[str, tuple[Any, dict[str, Any], list[str], dict[str, Any]]] = {
            "instructions": (
                bind(make_instructions, session=ScriptedSession(cast("Engine", engine))),
                {**settings, "engine": "scripted", "dtype": "none", "min_yield": 0.0},
                [],
                {"seeds": SEEDS["instructions"], "heldout": HELDOUT, "previous": []},
            ),
            "kept": (
                stage.keep,
                {key: c["selection"][key] for key in ("methods", "min_scores")},
                ["instructions", "candidates", "verdicts"],
                {},
            ),
            "pairs": (make_pairs, c["pairs"], ["candidates", "kept", "rejected"], {"heldout": HELDOUT}),
        }
        function, settings, inputs, values = steps[name]
        given = {key: artifact for key in inputs if (artifact := made[key]) is not None}
        if name != "kept":
            given["model"] = model
        before, begin = _memory_mib(), time.perf_counter()
        artifact = run.step("explicit", name, function, settings=settings, inputs=given, values=values, seed=1)
        seconds = time.perf_counter() - begin
    dropped = artifact.path / "dropped.jsonl"
    num_dropped = sum(1 for _ in dropped.open("rb")) if dropped.exists() else 0
    num_made = artifact.manifest["num_records"] or artifact.json("statistics.json")["num_pairs"]
    told = {"seconds": seconds, "made": num_made, "dropped": num_dropped, "mib_before": before, "mib_at_most": _memory_mib()}
    return told if engine.first_asked_s is None else {**told, "resumed_after_s": engine.first_asked_s - begin}


class Lists:
    """An engine that continues a list with lines of its kind's file, at a place that the seed tells; it can do nothing else."""

    description: ClassVar = {"engine": "scripted", "dtype": "none", "batch_size": 1}

    def __init__(self, folder: Path) -> None:
        self._files = {intro: os.open(folder / f"{kind}.txt", os.O_RDONLY) for kind, intro in _intros().items()}
        self.first_asked_s: float | None = None
        """When it was first asked, on `time.perf_counter`'s clock."""

    def generate(self, requests: Sequence[Any], on_done: Any = None) -> list[Any]:
        """The lists' next entries."""
        from cai_bootstrap.engines.engine import Generation

        if self.first_asked_s is None:
            self.first_asked_s = time.perf_counter()
        made = []
        for request in requests:
            file = self._files[request.prompt.partition("\n")[0]]
            first = request.seed % (os.fstat(file).st_size // _LINE - _ENTRIES)
            lines = os.pread(file, _ENTRIES * _LINE, first * _LINE).decode().splitlines()
            entries = [line.rstrip() if not n else f"{_ENTRIES + 1 + n}. {line.rstrip()}" for n, line in enumerate(lines)]
            text = " " + "\n".join(entries)
            made.append(Generation(text=text, token_ids=(), finish="stop", logprob=0.0, num_prompt_tokens=0))
        return made


def _intros() -> dict[str, str]:
    from cai_bootstrap import templates

    return {kind: templates.instruction_list(kind, []).partition("\n")[0] for kind in _config().stage.instructions.kind_shares}


def _given(run: Any, name: str, files: dict[str, Any], inputs: dict[str, Any]) -> None:
    from cai_bootstrap.store.run import Work, step

    @step(version=1)
    def give(work: Work, **inputs: Any) -> None:
        work.record_engine({"engine": "scripted"})
        for file, content in files.items():
            work.write_rows(file, content) if file.endswith(".jsonl") else work.write_json(file, content)

    run.step("explicit", name, give, settings={"sampling": {}}, inputs=inputs, seed=1)


def _config() -> Any:
    from cai_bootstrap.__main__ import compose_job

    # Messages are told apart by the words that are others here: of most of their forms there would be none.
    shares = [f"stage.instructions.kind_shares.{kind}={share}" for kind, share in _SHARES.items()]
    return compose_job("explicit", ["stage.pairs.min_pairs=1", *shares], "")


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--root", type=Path, default=None, help="where 6 GB fit (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.root) as name:
        folder = Path(name)
        root = folder / "root"
        (folder / "size.json").write_text(json.dumps(options.records))
        isolated.call(write_lines, folder, options.records)
        parts = {"instructions": isolated.call(run_step, root, folder, "instructions")}
        isolated.call(write_answers, root, folder)
        parts["kept"] = isolated.call(run_step, root, folder, "kept")
        isolated.call(write_rejected, root, folder)
        parts["pairs"] = isolated.call(run_step, root, folder, "pairs")
    taken = {"instructions": parts["instructions"]["made"] + parts["instructions"]["dropped"]}
    taken |= {"kept": options.records, "pairs": parts["kept"]["made"]}
    for part, count in taken.items():
        parts[part]["taken"] = count
        parts[part]["per_second"] = count / parts[part]["seconds"]
    seconds = sum(part["seconds"] for part in parts.values())
    per_second = sum(taken.values()) / seconds
    pairing.save("million", {"records": options.records, "per_second": per_second, "steps": parts})


if __name__ == "__main__":
    main()
