"""The command line as a user meets it: one clear line and exit code 2 for a mistake, at once, loading little."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cai_bootstrap
from cai_bootstrap.__main__ import compose_job, main
from cai_bootstrap.config import Config
from cai_bootstrap.errors import CaiError, DiskFull, StepFailed, UserError
from cai_bootstrap.records import GateResult
from cai_bootstrap.report.card import model_card
from cai_bootstrap.stages import CURRICULUM
from cai_bootstrap.store.run import Run, Work, step

CHECKOUT = Path(__file__).resolve().parent.parent
RunCli = Callable[..., tuple[int, str, str]]
MISTAKES = [
    (["stage=9"], "stage=9 does not exist"),
    (["stage=explict"], "did you mean 'explicit'?"),
    (["-m", "stage=1,7"], "stage=7 does not exist"),
    (["stage=1,0"], "write -m stage=explicit,baseline"),
    (["stage=1", "stage=0"], "stage=0 is the second stage="),
    ([], "stage is missing: write stage=1"),
    (["seed=1"], "stage is missing: write stage=1"),
    (["stage=1", "trian.learning_rate=1"], "did you mean 'train.learning_rate'?"),
    (["stage=1", "learning_rate=1"], "did you mean 'train.learning_rate'?"),
    (["stage=1", "seed=abc"], "seed='abc' is not valid: write a whole number"),
    (["stage=1", "train.learning_rate=fast"], "write a number such as 0.1"),
    (["stage=1", "train.learning_rate=-1"], "write a positive number such as 1e-4"),
    (["stage=1", "train.quantization=int8"], "write one of auto, none, nf4"),
    (["stage=1", "eval.raw=maybe"], "write true or false"),
    (["stage=1", "train=ppo"], "train=ppo does not exist (did you mean 'dpo'?); write one of dpo, orpo"),
    (["stage=1", "model=smollm2"], "did you mean 'smollm2-135m'?"),
    (["stage=1", "preset=smal"], "did you mean 'small'?"),
    (["stage=1", "run=../../x"], "run='../../x' is not valid"),
    (["stage=1", "model=path"], "model.path is missing: write model=path model.path=DIR"),
    (["stage=1", "model=path", "model.path=/no/such/model"], "model.path=/no/such/model does not exist"),
    (["stage=1", "model=path", "model.path=."], "model.path=. holds no model"),
    (["stage=1", "model.path=/x"], "has no effect with model=gemma-3-270m: write model=path as well"),
    (["stage=1", "safety=llama-guard"], "did you mean 'llama_guard'?"),
    (["stage=1", "safety=llama_guard"], "safety.path is missing: write safety.path=DIR"),
    (["stage=1", "safety=llama_guard", "safety.path=/no/such/model"], "safety.path=/no/such/model is no folder"),
    (["stage=1", "safety=sequence_classifier", "safety.path=."], "safety.path=. holds no model"),
    (["stage=1", "safety.path=/x"], "has no effect with safety=none: write safety=llama_guard or"),
    (["stage=1", "seed=1,2"], "seed=1,2 has several values: add -m"),
    (["stage=1", "gate.override=short of data, and known"], "put quotes in it too: key=\"'a, b'\""),
    (["-m", "stage=1", "seed=1,x"], "seed='x' is not valid: write a whole number"),
    (["-m", "stage=1", "seed=interval(0,1)"], "names no finite list of values"),
    (["stage=1", "model.path=~/x"], "put the value in quotes"),
    (["stage=1", "+extra=1"], "keys can be set, not added"),
    (["stage=1", "hydra.run.dir=x"], "hydra.run.dir=x has no effect here"),
    (["statsu"], "did you mean 'status'?"),
    (["explicit"], "'explicit' is a stage: write stage=explicit"),
    (["status", "now"], "'now' is one word too many after status"),
    (["status", "run=none-such"], "run=none-such does not exist"),
    (["plan", "--json"], "--json does not go with plan"),
    (["export", "stage=1"], "export needs a folder to write"),
    (["help", "me"], "help me does not exist"),
    (["stage=1", "--jsno"], "option --jsno does not exist (did you mean '--json'?)"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep writes its summary under the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("words", "told"), MISTAKES, ids=[" ".join(words) or "nothing" for words, _ in MISTAKES])
def test_a_mistake_is_one_clear_line(
    words: list[str], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(words)
    out, err = capfd.readouterr()
    assert code == 2
    assert told in err
    assert err.startswith("cai_bootstrap: error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []  # nothing was written


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stage=explict"], "did you mean 'explicit'?"),
        (["stage=7"], "stage=7 does not exist"),
        (["stage=1", "trian.learning_rate=1"], "did you mean 'train.learning_rate'?"),
        (["stage=1", "seed=abc"], "seed='abc' is not valid: write a whole number"),
        (["stage=1", "model=path"], "model.path is missing"),
        (["stage=1", "model=path", "model.path=/no/such/model"], "model.path=/no/such/model does not exist"),
    ],
)
def test_a_mistake_in_a_real_process(words: list[str], told: str, tmp_path: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli(*words, root=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["status", "--help"], ["stage=1", "trian.x=1"], ["status"]])
def test_help_and_mistakes_load_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from cai_bootstrap.__main__ import main\n"
        f"main({words!r})\n"
        "heavy = {'torch', 'pandas', 'transformers', 'trl', 'peft', 'datasets', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {sorted(heavy)}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["stage=1", "trian.learning_rate=1"], ["stage=1", "model=path"]])
def test_help_and_mistakes_answer_within_a_second(words: list[str], tmp_path: Path, run_cli: RunCli) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        run_cli(*words, root=tmp_path)
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1.0


def test_help_names_every_verb_and_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("status", "plan", "doctor", "export", *CURRICULUM):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120
    for verb in ("status", "plan", "doctor", "export"):
        assert main([verb, "--help"]) == 0
        own = capsys.readouterr().out
        assert own.startswith(f"usage: python -m cai_bootstrap {verb}")
        assert main(["help", verb]) == 0
        assert capsys.readouterr().out == own
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cai_bootstrap {cai_bootstrap.__version__}\n"


def test_numbers_and_names_are_the_same_stage(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for word in ("1", "explicit", "0", "baseline"):
        assert main([f"stage={word}", "--cfg", "job"]) == 0
        shown[word] = capsys.readouterr().out
    assert shown["1"] == shown["explicit"] != shown["0"] == shown["baseline"]
    assert "\n  name: explicit\n" in shown["1"]


class Runs:
    """Stands in for pipeline and planning, whose real stages take minutes: notes what was asked, fails where told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcomes: dict[tuple[str, int], int | Exception]) -> None:
        self.asked: list[tuple[str, int, str]] = []
        self.outcomes = outcomes
        for name, functions in (("pipeline", ["run_stage"]), ("planning", ["plan", "what_changed"])):
            module = types.ModuleType(f"cai_bootstrap.{name}")
            for function in functions:
                setattr(module, function, getattr(self, function))
            monkeypatch.setitem(sys.modules, module.__name__, module)
            monkeypatch.setattr(cai_bootstrap, name, module, raising=False)

    def run_stage(self, config: Config, until: str = "gate", **_: Any) -> int:
        self.asked.append((config.stage.name, config.seed, config.run))
        outcome = self.outcomes.get((config.stage.name, config.seed), 0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def what_changed(self, config: Config) -> str:
        return ""

    def plan(self, configs: list[Config], labels: dict[str, str]) -> str:
        return "\n".join(f"{config.run} {config.stage.name}" for config in configs)


def test_stage_all_runs_every_stage_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, {})
    assert main(["stage=all", "seed=4", "run=mine"]) == 0
    assert runs.asked == [(name, 4, "mine") for name in CURRICULUM]


@pytest.mark.parametrize(("outcome", "why"), [(1, "the gate of explicit was not passed"), (StepFailed("x"), "explicit failed")])
@pytest.mark.parametrize("words", [["stage=all"], ["-m", "stage=0,1,2,3,4,5,6"]])
def test_stages_in_order_stop_at_the_first_failed_one(
    words: list[str],
    outcome: int | Exception,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = Runs(monkeypatch, {("explicit", 1): outcome})
    assert main(words) == 1
    assert [(name, run) for name, _, run in runs.asked] == [("baseline", "default"), ("explicit", "default")]
    assert f"not run: {', '.join(CURRICULUM[2:])}, since {why}\n" in capsys.readouterr().out


def test_a_multirun_names_its_runs_and_goes_on_after_a_failed_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(monkeypatch, {("baseline", 1): 1, ("explicit", 2): StepFailed("no yield")})
    words = ["-m", "stage=0,1", "seed=1,2,3", "run=sweep"]
    assert main(words) == 1
    assert [(name, seed) for name, seed, _ in runs.asked] == [
        ("baseline", 1),
        ("baseline", 2),
        ("explicit", 2),
        ("baseline", 3),
        ("explicit", 3),
    ]
    shown = " ".join(capsys.readouterr().out.split())
    assert "not run: explicit, since the gate of baseline was not passed" in shown
    assert "job 1: the gate of baseline was not passed" in shown
    assert "job 2: no yield" in shown
    names = {seed: run for _, seed, run in runs.asked}
    assert len(set(names.values())) == 3
    assert all(run.startswith("sweep-") and len(run) == len("sweep-") + 8 for run in names.values())
    first = list(runs.asked)
    runs.asked.clear()
    assert main(words) == 1
    assert runs.asked == first  # the same words find the same runs


def test_a_run_name_depends_on_what_is_set_only(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, {})

    def name(*words: str) -> str:
        runs.asked.clear()
        assert main(["-m", *words]) == 0
        return runs.asked[0][2]

    assert name("stage=1") == name("stage=0,1") == "default"
    rate = name("stage=1", "train.learning_rate=1e-4", "seed=2")
    assert rate == name("stage=0", "seed=2", "train.learning_rate=0.0001", "paths.root=/elsewhere")
    assert rate != name("stage=1", "train.learning_rate=1e-4", "seed=3")


@pytest.mark.parametrize("error", [UserError("wrong"), DiskFull("no space")])
def test_a_multirun_stops_at_once_where_going_on_is_useless(monkeypatch: pytest.MonkeyPatch, error: CaiError) -> None:
    runs = Runs(monkeypatch, {("explicit", 1): error})
    assert main(["-m", "stage=1", "seed=1,2"]) == error.exit_code
    assert len(runs.asked) == 1


def test_a_value_written_twice_is_one_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    runs = Runs(monkeypatch, {})
    assert main(["-m", "stage=1", "seed=2,2"]) == 0
    assert len(runs.asked) == 1
    assert capsys.readouterr().out == ""  # one job has no summary


def test_a_mistake_in_a_later_job_stops_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch, {})
    assert main(["-m", "stage=1", "train.micro_batch_size=4,3"]) == 2
    assert runs.asked == []


def test_an_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Runs(monkeypatch, {("explicit", 1): KeyboardInterrupt()})  # type: ignore[dict-item]
    assert main(["stage=1"]) == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on where it stopped\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    Runs(monkeypatch, {("explicit", 1): ZeroDivisionError("bug")})
    with pytest.raises(ZeroDivisionError):
        main(["stage=1"])


def test_plan_without_a_stage_plans_them_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Runs(monkeypatch, {})
    assert main(["plan"]) == 0
    assert capsys.readouterr().out == "".join(f"default {name}\n" for name in CURRICULUM)
    assert main(["plan", "stage=1"]) == 0
    assert capsys.readouterr().out == "default explicit\n"


def test_export_needs_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "model"), "stage=1", f"paths.root={tmp_path}"]) == 2
    assert "run=default has no trained model of stage=explicit: run `python -m" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@step(1)
def note_gate(work: Work, result: dict[str, object]) -> None:
    work.write_json("gate.json", result)
    if work.stage == "explicit":
        work.warn("looks instruction-tuned")


def make_run(root: Path, name: str, *, passed: bool, override: str | None = None) -> Path:
    """A run with a baseline and a gated stage 1, made by the real store; gives the gate's folder."""
    check = {
        "name": "trained strict",
        "value": 0.725,
        "low": 0.68,
        "high": 0.766,
        "threshold": 0.7,
        "passed": passed,
        "reason": "numbers",
    }
    row = GateResult(stage="explicit", passed=passed, checks=[check], override=override).to_row()
    gap = GateResult(stage="baseline", passed=True, checks=[]).to_row()
    with Run(root, name) as run:
        baseline = run.step("baseline", "gate", note_gate, settings={}, values={"result": gap}, seed=1)
        run.record_stage("baseline", baseline, passed=True)
        gate = run.step("explicit", "gate", note_gate, settings={}, values={"result": row}, seed=1)
        run.record_stage("explicit", gate, passed=passed, override=override)
    return gate.path


def test_status_without_runs(tmp_path: Path, run_cli: RunCli) -> None:
    code, out, err = run_cli("status", root=tmp_path)
    assert (code, err) == (0, "")
    assert "no runs" in out
    assert "python -m cai_bootstrap stage=explicit" in out
    assert json.loads(run_cli("status", "--json", root=tmp_path)[1])["runs"] == []
    assert list(tmp_path.iterdir()) == []


def test_status_shows_gates_rates_and_what_is_next(tmp_path: Path, run_cli: RunCli) -> None:
    make_run(tmp_path, "good", passed=True)
    make_run(tmp_path, "poor", passed=False)
    make_run(tmp_path, "forced", passed=False, override="to try stage 2")
    with Run(tmp_path, "young") as run:
        run.step("baseline", "gate", note_gate, settings={}, values={"result": {}}, seed=2)
    code, out, err = run_cli("status", root=tmp_path)
    assert (code, err) == (0, "")
    good = next(line for line in out.splitlines() if line.startswith("good") and "explicit" in line)
    assert "passed" in good
    assert "72.5 % [68.0 %, 76.6 %]" in good
    assert "FAILED, overridden: to try stage 2" in out
    assert "warning: good/explicit: looks instruction-tuned" in out
    assert "next for poor: python -m cai_bootstrap stage=explicit run=poor stage.max_rounds=2" in out
    assert "next for young: python -m cai_bootstrap stage=baseline run=young" in out
    assert "next for good: python -m cai_bootstrap stage=implicit run=good" in out
    told = json.loads(run_cli("status", "--json", "run=good", root=tmp_path)[1])
    assert [run["name"] for run in told["runs"]] == ["good"]
    assert told["runs"][0]["stages"][1]["strict"] == {"value": 0.725, "low": 0.68, "high": 0.766, "threshold": 0.7}


def test_a_card_tells_what_the_gates_on_the_way_said(tmp_path: Path) -> None:
    make_run(tmp_path, "forced", passed=False, override="to try stage 2")
    with Run(tmp_path, "later") as run:
        result = GateResult(stage="implicit", passed=True, checks=[], warnings=["a late warning"]).to_row()
        gate = run.step("implicit", "gate", note_gate, settings={}, values={"result": result}, seed=1)
        run.record_stage("implicit", gate, passed=True)
        run.save_config("implicit", {"parent_run": "forced"})
    card = model_card(compose_job("implicit", ["run=later", f"paths.root={tmp_path}"], ""))
    assert card.startswith("# later/implicit\n")
    assert "| explicit | forced | FAILED, overridden: to try stage 2 |" in card
    assert "| implicit | later | passed |" in card
    assert "- NOT passed: numbers\n- override: to try stage 2\n" in card
    assert "- warning: a late warning\n" in card


def test_status_uses_no_altered_gate_and_hides_no_other_run(tmp_path: Path, run_cli: RunCli) -> None:
    folder = make_run(tmp_path, "altered", passed=True)
    text = (folder / "gate.json").read_text(encoding="utf-8")
    (folder / "gate.json").write_text(text.replace("0.725", "0.995"), encoding="utf-8")
    (tmp_path / "data" / "runs" / "torn").mkdir()
    (tmp_path / "data" / "runs" / "torn" / "run.json").write_text('{"name": "to', encoding="utf-8")
    code, out, err = run_cli("status", root=tmp_path)
    assert (code, err) == (0, "")
    assert "99.5 %" not in out
    assert "error: altered/explicit: " in out
    assert "sha256" in out
    assert "error: torn: " in out
