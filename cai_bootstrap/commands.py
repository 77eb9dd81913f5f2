"""The words of the command line: help texts, errors, and reading argv into a `Request`. Free of Hydra and heavy imports."""

from __future__ import annotations

import difflib
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, is_dataclass
from enum import StrEnum
from typing import Any

from cai_bootstrap.errors import CaiError, UserError

USAGE = """\
cai_bootstrap: from a base language model to a constitutionally aligned one, with no labels and no second model

usage:
  python -m cai_bootstrap stage=STAGE [key=value ...]       run a stage, and the baseline before it if it has not run
  python -m cai_bootstrap stage=all [key=value ...]         the curriculum in order; stops at the first failed gate
  python -m cai_bootstrap -m stage=1,2,3 [key=value ...]    these stages in order, in one run; stops likewise
  python -m cai_bootstrap -m stage=1 key=a,b [key=c,d ...]  every combination, then a summary that compares them
  python -m cai_bootstrap VERB ...

verbs:
  status [--json]        every run, stage and gate, and what to run next
  plan [stage=...]       what would run or is done already, and what it takes; writes nothing
  doctor [--json]        this machine, versions, what is missing, measured limits, what the model really receives
  verify [run=NAME]      every artifact of the runs against its hashes, and how it came about against its address
  gc [--yes] [--partial] removes what no run refers to; asks first
  export DIR stage=...   a copy of a stage's merged model with a chat template, for other tools
  data | train | evaluate stage=...   a stage up to its pairs, its merged model, its gate
  help [VERB]            this text, or a verb's own

stages:
  0 baseline       1 explicit       2 implicit       3 generation
  4 evaluation     5 revision       6 constitutional

main keys (defaults in conf/):
  experiment=NAME             a known configuration: laptop, qwen7b_24gb, qwen32b_a100, qwen32b_h100, qwen32b_h200
  run=NAME                    which run (default: default)
  preset=small|demo|full      how much data and which gate (default: demo)
  seed=N                      (default: 1)
  model=gemma-3-270m|smollm2-135m|path|qwen2.5-7b|qwen2.5-32b|tiny-random     with model=path: model.path=DIR
  engine=transformers|vllm|ray|ray_vllm|scripted     and engine.batch_size=N, engine.dtype=float32|bfloat16
                              (0, auto: measured); vllm: engine.vllm.context=N, engine.vllm.quantization=none|fp8;
                              ray: the same on engine.ray.workers=N of a cluster, engine.ray.address=ray://HOST:PORT;
                              scripted: no model runs, with model=tiny-random the curriculum in a minute, no claim
  safety=none|llama_guard|sequence_classifier     drop unsafe answers; with safety.path=DIR, safety.max_unsafe=0.5
  train=dpo|orpo              and train.learning_rate=1e-4, train.num_epochs=2, train.quantization=auto|none|nf4,
                              train.reference=previous|base (of DPO), train.backend=peft|unsloth,
                              train.launcher=none|accelerate, train.accelerate_config=one_gpu|fsdp|zero3|two_cpus|FILE
  stage.max_rounds=N          a failed stage adds data and trains again, up to N rounds
  gate.override=REASON        let the chain go on after a failed gate; stays visible for ever
  paths.root=DIR              where data/ and checkpoints/ go (default: the working directory)

options:
  -m, --multirun   sweep over comma-separated values, a job each; what is finished is skipped. The summary of several
                   jobs is kept in data/sweeps/DIGEST/summary.txt, .md and .json. hydra/launcher=ray runs jobs side by
                   side, with hydra.launcher.ray.init.address=ray://HOST:PORT on another machine's cluster
  -c, --cfg job    print the composed configuration and stop
  -h, --help       this text
  --version

exit codes:
  0 done    1 failed gate or failed run    2 a mistake in the command (one line says what to write)
  130 Ctrl-C    143 SIGTERM; a training is saved first, and the same command goes on
"""

VERB_HELP = {
    "status": """\
usage: python -m cai_bootstrap status [--json] [run=NAME] [paths.root=DIR]

Every run, or the one named: its stages, how many steps are done, the gate, the strict rate with its 95 % interval,
and the command to run next. --json prints the same as JSON. Reads only; exit code 0 also when there are no runs.
""",
    "plan": """\
usage: python -m cai_bootstrap plan [stage=STAGE|all] [key=value ...]

What the same command without `plan` would run, and what is done already; of each step the tokens read and written, the most
memory (GiB), minutes, dollars and disk, on the machine that machine=... names. Writes nothing. Without a stage: all of them.
With -m: for every combination, and which steps an earlier job computes for a later one.
""",
    "doctor": """\
usage: python -m cai_bootstrap doctor [--json] [model=MODEL] [key=value ...]

The machine, library versions with those that are known to break together, measured limits (matrix rates, memory
bandwidth, disk), and what the model really receives: token ids of a sample prompt, BOS, template tokens, sentinel
completions. Of what only some models, engines, trainings and sweeps take it tells the version, or the command that
installs it: models, smollm2, vllm, ray, hydra-ray-launcher, bitsandbytes, accelerate, unsloth, deepspeed. --json prints
the same as JSON.
""",
    "verify": """\
usage: python -m cai_bootstrap verify [run=NAME] [paths.root=DIR]

Every artifact that the runs, or the one named, refer to, and everything that those were made from: all files against their
hashes, and the address against what the manifest tells of how it came about. Reads only; exit code 1 when something is
damaged or gone.
""",
    "gc": """\
usage: python -m cai_bootstrap gc [--yes] [--partial] [paths.root=DIR]

Lists the artifacts that no run refers to, directly or through what was made from them, and removes them when you say so
(--yes says it beforehand). With --partial also what interrupted steps left, which a run may still go on with. Refused while
a run is held.
""",
    "export": """\
usage: python -m cai_bootstrap export DIR stage=STAGE [run=NAME] [key=value ...]

Writes a copy of the stage's merged model to DIR, with a chat template that renders exactly the ids it was trained on.
""",
}

STEPWISE = {"data": "pairs", "train": "model", "evaluate": "gate"}
"""Verbs that run a stage up to a step, for people who expect the steps one by one; each goes on where the last one ended."""
VERB_HELP |= {
    verb: f"""\
usage: python -m cai_bootstrap {verb} stage=STAGE [key=value ...]

Runs the stage up to its {last} and stops there. What is done already is not done again.
"""
    for verb, last in STEPWISE.items()
}

VERBS = (*VERB_HELP, "help")


@dataclass(kw_only=True)
class Request:
    """What the user asked for. `overrides` are in Hydra's grammar, without `stage=`; `stages` are names."""

    verb: str = "run"
    target: str | None = None
    """`export`: the folder to write."""
    stages: list[str] = field(default_factory=list)
    every_stage: bool = False
    """`stage=all`: in order, and each only after the gate of the one before."""
    overrides: list[str] = field(default_factory=list)
    multirun: bool = False
    launcher: list[str] = field(default_factory=list)
    """The words of a multirun that say where its jobs run: `hydra/launcher=ray`, `hydra.launcher.…`."""
    as_json: bool = False
    yes: bool = False
    """`gc`: remove without asking."""
    partial: bool = False
    """`gc`: what interrupted steps left, too."""
    show_config: bool = False


def complain(error: CaiError) -> int:
    """Prints an error as one line on stderr and gives its exit code."""
    print(f"cai_bootstrap: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return error.exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known word, or an empty string when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def help_text(argv: Sequence[str]) -> str | None:
    """The text asked for with -h, --help or `help [VERB]`; None when none was asked for."""
    wanted = [word for word in argv if not word.startswith("-")]
    if wanted[:1] == ["help"]:
        if len(wanted) > 1 and wanted[1] not in VERB_HELP:
            raise UserError(f"help {wanted[1]} does not exist: write one of {', '.join(VERB_HELP)}")
        return VERB_HELP[wanted[1]] if len(wanted) > 1 else USAGE
    if "-h" in argv or "--help" in argv:
        return VERB_HELP.get(wanted[0], USAGE) if wanted else USAGE
    return None


def parse(argv: Sequence[str], curriculum: Sequence[str]) -> Request:
    """Reads the command line. Raises UserError for an unknown word, option or stage.

    `stage=1` and `stage=explicit` are the same, since Hydra takes no number as a group's option; `stage=all` is every
    stage in order.
    """
    request = Request()
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word in ("-m", "--multirun"):
            request.multirun = True
        elif word == "--json":
            request.as_json = True
        elif word == "--yes":
            request.yes = True
        elif word == "--partial":
            request.partial = True
        elif word in ("-c", "--cfg"):
            kind = next(rest, "nothing")
            if kind != "job":
                raise UserError(f"{word} {kind} is not valid: write {word} job")
            request.show_config = True
        elif word.startswith("-"):
            options = ("-m", "--multirun", "--json", "--yes", "--partial", "-c", "--cfg", "-h", "--help", "--version")
            raise UserError(f"option {word} does not exist{did_you_mean(word, options)}; --help lists them")
        elif word.startswith("stage="):
            if request.stages:
                raise UserError(f"{word} is the second stage=: write one, such as stage=1,2 with -m")
            request.every_stage = word == "stage=all"
            request.stages = read_stages(word.partition("=")[2], curriculum)
        elif word.startswith(("hydra/launcher=", "hydra.launcher.")):
            request.launcher.append(word)
        elif "=" in word:
            # A gate belongs to a stage; people name it without.
            request.overrides.append(f"stage.{word}" if word.startswith("gate.") else word)
        else:
            words.append(word)
    if words:
        request.verb = words.pop(0)
        if request.verb in curriculum:
            raise UserError(f"{request.verb!r} is a stage: write stage={request.verb}")
        if request.verb not in VERBS:
            near = did_you_mean(request.verb, VERBS)
            raise UserError(f"{request.verb!r} is no verb{near}; write one of {', '.join(VERBS)}, or key=value")
    if request.verb == "export" and words:
        request.target = words.pop(0)
    if words:
        raise UserError(f"{words[0]!r} is one word too many after {request.verb}: write key=value, or nothing")
    check(request)
    return request


def check(request: Request) -> None:
    """Raises UserError when the parts of a request do not go together."""
    if request.as_json and request.verb not in ("status", "doctor"):
        raise UserError(f"--json does not go with {request.verb}: it goes with status and doctor")
    if (request.yes or request.partial) and request.verb != "gc":
        raise UserError(f"{'--yes' if request.yes else '--partial'} does not go with {request.verb}: it goes with gc")
    if request.multirun and request.verb not in ("run", "plan"):
        raise UserError(f"-m does not go with {request.verb}: it goes with runs and plan")
    if request.launcher and not request.multirun:
        raise UserError(f"{request.launcher[0]} runs the jobs of a multirun: add -m, or leave it out")
    if request.verb == "export" and request.target is None:
        raise UserError("export needs a folder to write: write export DIR stage=1")
    if not request.stages and request.verb in ("run", "export", *STEPWISE):
        raise UserError("stage is missing: write stage=1, stage=all or another stage; --help lists them")
    if len(request.stages) > 1 and not request.every_stage and not request.multirun and request.verb != "plan":
        names = ",".join(request.stages)
        raise UserError(f"stage={names} is a list: write -m stage={names} to run one after the other, or stage=all")
    if request.every_stage and request.verb in ("export", "doctor"):
        raise UserError(f"stage=all does not go with {request.verb}: write one stage, such as stage=1")


def read_stages(text: str, curriculum: Sequence[str]) -> list[str]:
    """Stage names from `1`, `explicit`, `1,2` or `all`. Raises UserError for any other word."""
    if text == "all":
        return list(curriculum)
    names = []
    for word in text.split(","):
        name = curriculum[int(word)] if word.isdecimal() and int(word) < len(curriculum) else word
        if name not in curriculum:
            listed = ", ".join(f"{stage} ({number})" for number, stage in enumerate(curriculum))
            near = did_you_mean(word, curriculum)
            raise UserError(f"stage={word} does not exist{near}; write one of {listed}, or all")
        names.append(name)
    return names


def expected(schema: type[Any], key: str) -> str:
    """What may be written for a dotted key of a schema dataclass, in words, such as `a whole number`."""
    kind: Any = schema
    for part in key.split("."):
        kind = _without_none(kind)
        if is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(part, str)
        elif typing.get_origin(kind) in (dict, list):
            kind = typing.get_args(kind)[-1]
    optional = type(None) in typing.get_args(kind)
    return _in_words(_without_none(kind)) + (" or null" if optional else "")


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _in_words(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "one of " + ", ".join(kind)
    if is_dataclass(kind) or typing.get_origin(kind) is dict:
        return "one of its own keys (key.name=value)"
    if typing.get_origin(kind) is list:
        return "a list such as [a,b]"
    return {bool: "true or false", int: "a whole number", float: "a number such as 0.1"}.get(kind, "text")
