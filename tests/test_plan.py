"""`plan` before a dollar is spent: figures for every step, what does not fit and what to write, and a run that is refused."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import CHECKOUT, RunCli

from cai_bootstrap import planning, stages
from cai_bootstrap.__main__ import compose_job, main
from cai_bootstrap.config import Config, EngineConfig
from cai_bootstrap.engines import machine
from cai_bootstrap.errors import UserError
from cai_bootstrap.estimates import GIB
from cai_bootstrap.report.fit import require_fit
from cai_bootstrap.report.forecast import made
from cai_bootstrap.report.plan import Row, planned_rows, render_plan
from cai_bootstrap.steps.workload import WORKLOADS
from cai_bootstrap.store.run import Run, Work, step

A100 = "experiment=qwen32b_a100"


def composed(*overrides: str, stage: str = "explicit") -> Config:
    return compose_job(stage, list(overrides), "", planned=True)


def rows_of(*configs: Config) -> list[Row]:
    return planned_rows(planning.walk(list(configs)), planning.known_machines())


def planned(*overrides: str, stage: str = "explicit") -> str:
    return render_plan(rows_of(composed(*overrides, stage=stage)), {})


def lacking(*overrides: str) -> list[str]:
    return [line for line in planned(*overrides).splitlines() if line.startswith("does not fit")]


def test_the_whole_curriculum_of_a_32b_model_is_planned_without_a_gpu_and_writes_nothing(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # who asks the network fails
    code, shown, errors = run_cli("plan", A100, "stage=all", root=tmp_path)
    assert (code, errors) == (0, "")
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 120
    sums = {line.split()[0]: line.split() for line in lines[lines.index("") :] if line.split()[:1]}
    assert set(stages.CURRICULUM) < set(sums)
    hours, dollars = (float(sums["in"][-column]) for column in (3, 2))
    assert hours == pytest.approx(sum(float(sums[name][-3]) for name in stages.CURRICULUM), abs=0.05)
    assert dollars == pytest.approx(1.8 * hours, rel=0.01)
    assert "assumed: a100_80gb, 312 TFLOP/s" in shown
    assert "does not fit" not in shown
    assert list(tmp_path.iterdir()) == []


@functools.cache
def whole_plan(experiment: str) -> str:
    """Of the whole curriculum, under a root that holds nothing."""
    words = (f"experiment={experiment}", "paths.root=not-there")
    return render_plan(rows_of(*[composed(*words, stage=name) for name in stages.CURRICULUM]), {})


def largest(shown: str) -> dict[str, tuple[str, dict[str, float]]]:
    """By phase what takes most memory, and the parts of that."""
    found = {}
    lines = shown.splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith("most memory in "):
            phase, _, told = line.removeprefix("most memory in ").removesuffix(":").partition(": ")
            below = itertools.takewhile(lambda part: part.startswith("  "), lines[number:])
            parts = [part.rpartition(" ") for part in " ".join(map(str.strip, below)).split(", ")]
            found[phase] = told, {name: float(size) for name, _, size in parts}
    return found


def test_the_readme_shows_what_plan_prints() -> None:
    lines = (CHECKOUT / "README.md").read_text(encoding="utf-8").splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.split()[:3] == ["run", "stage", "step"]]
    block = itertools.takewhile(lambda line: not line or line.startswith("    "), lines[start:])
    told = [line[4:].rstrip() for line in block if line.strip() not in ("", "…")]
    assert any(line.startswith("in all") for line in told)
    printed = {line.rstrip() for line in whole_plan("qwen32b_a100").splitlines()}
    stale = [line for line in told if line not in printed]
    assert not stale, "print it anew: python -m cai_bootstrap plan experiment=qwen32b_a100 stage=all"


@pytest.mark.parametrize("experiment", ["qwen7b_24gb", "qwen32b_a100", "qwen32b_h100", "qwen32b_h200"])
def test_every_experiment_on_a_gpu_fits_its_card(experiment: str) -> None:
    shown = whole_plan(experiment)
    assert "does not fit" not in shown
    assert largest(shown).keys() == {"generation", "training", "merging"}


OF_TRAINING = {"weights", "LoRA", "optimizer", "activations", "logits", "kept blocks", "libraries"}
OF_MERGING = {"weights", "activations", "logits", "libraries"}


@pytest.mark.parametrize(
    ("words", "of_generation", "ram"),
    [
        ((A100,), {"weights", "KV cache", "activations"}, " RAM"),
        (("machine=two_cores",), {"weights", "KV cache", "activations", "logits", "kept blocks", "libraries"}, ""),
    ],
)
def test_the_parts_of_the_most_memory_are_told_of_each_phase(
    words: tuple[str, ...], of_generation: set[str], ram: str, tmp_path: Path
) -> None:
    rows = rows_of(composed(*words, f"paths.root={tmp_path}"))
    found = largest(render_plan(rows, {}))
    assert {phase: set(parts) for phase, (_, parts) in found.items()} == {
        "generation": of_generation,
        "training": OF_TRAINING,
        "merging": OF_MERGING,
    }
    for phase, (told, parts) in found.items():
        peak = max(row.forecast.peak.gib for row in rows if row.forecast.peak is not None and row.forecast.phase == phase)
        assert told.endswith(f", {peak:.1f} GiB{ram if phase == 'merging' else ''}")
        assert sum(parts.values()) == pytest.approx(peak, abs=0.05 * len(parts))


def test_the_rate_of_rent_changes_the_dollars_and_nothing_else() -> None:
    def told(rate: str) -> tuple[str, str, str]:
        shown = planned(A100, "paths.root=not-there", f"machine.dollars_per_hour={rate}")
        (line,) = [line for line in shown.splitlines() if line.startswith("in all")]
        *_, hours, dollars, _ = line.split()
        return shown, hours, dollars

    (_, hours, dollars), (dearer, same_hours, more), (free, still, none) = (told(rate) for rate in ("1.8", "3.6", "0"))
    assert hours == same_hours == still
    assert float(more) == pytest.approx(2 * float(dollars), abs=0.015)
    assert "$3.60 an hour" in dearer
    assert none == "–"
    assert "an hour" not in free


def test_a_disk_with_less_room_than_is_planned_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"device": "cpu", "fp32_gflops": 150.0, "bf16_gflops": 1.0, "bandwidth_gb_s": 30.0}
    monkeypatch.setattr(machine, "measure_in_child", lambda device: measured)

    def told(free_gib: float, *words: str) -> list[str]:
        def usage(folder: Path) -> SimpleNamespace:
            assert folder == tmp_path, "the root is not there yet, and its disk is that of the folder above it"
            return SimpleNamespace(free=round(free_gib * GIB))

        monkeypatch.setattr("shutil.disk_usage", usage)
        shown = planned(f"paths.root={tmp_path / 'not-there'}", "engine.device=cpu", *words)
        return [line for line in shown.splitlines() if line.startswith("does not fit: disk")]

    (line,) = told(1.5)  # the base model and the merged one are a GiB each
    assert re.search(r"disk, 2\.\d GiB of 1\.5 that are free under paths\.root: write paths\.root=DIR", line)
    assert told(50) == []
    assert told(0, "machine=two_cores") == [], "of another machine's disk nothing is known"


def test_a_plan_needs_no_engine_here_and_a_run_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cai_bootstrap.engines.NEEDS", {"vllm": "install it"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["plan", A100, "stage=1", f"paths.root={tmp_path}"]) == 0
    assert main([A100, "stage=1", f"paths.root={tmp_path}"]) == 2
    assert "engine=vllm needs vllm, which is not installed: install it" in capsys.readouterr().err


def test_every_step_with_a_model_has_its_workload(tmp_path: Path) -> None:
    configs = [composed(f"paths.root={tmp_path}", "machine=two_cores", stage=name) for name in stages.CURRICULUM]
    seen: set[str] = set()
    for row in rows_of(*configs):
        module, _, name = row.step.facts["function"].rpartition(".")
        function = getattr(__import__(module, fromlist=[name]), name)
        if "session" in inspect.signature(function).parameters:
            seen.add(name)
            assert name in WORKLOADS
            assert row.forecast.seconds, name
            assert row.forecast.peak is not None or name == "write_rejected", "stage 4 rejects nothing that a model wrote"
    assert {"make_instructions", "write_outputs", "train_adapter", "merge_adapter", "write_revisions"} <= seen


@pytest.mark.parametrize(
    ("phase", "overrides"),
    [
        ("training", ("machine.memory_gib=30", "train.micro_batch_size=16", "train.gradient_checkpointing=false")),
        ("training", ("model=qwen2.5-7b", "machine.memory_gib=15", "train.quantization=none")),
        ("merging", ("merge.device=cuda",)),
        ("generation", ("engine.vllm.memory_share=0.75",)),
        ("generation", ("engine.vllm.context=65536",)),
        ("generation", ("machine.memory_gib=48",)),
    ],
)
def test_what_does_not_fit_is_told_with_a_setting_that_does(phase: str, overrides: tuple[str, ...]) -> None:
    (line,) = [line for line in lacking(A100, *overrides) if line.split()[3] == f"{phase},"]
    assert len(line) <= 120
    words = line.partition(": write ")[2].rpartition(" (")[0].split()
    assert words, line
    changed = {word.partition("=")[0] for word in words}
    kept = [word for word in overrides if word.partition("=")[0] not in changed]
    assert not [after for after in lacking(A100, *kept, *words) if after.split()[3] == f"{phase},"], words


def test_what_no_setting_makes_fit_is_told_with_what_would() -> None:
    (line,) = [line for line in lacking(A100, "machine=rtx4090_24gb", "machine.ram_gib=200") if "generation" in line]
    assert "no setting helps: take a smaller model=…" in line


@step(version=1)
def count(work: Work) -> None:
    work.record_engine({"engine": "played"})
    work.write_rows("records.jsonl", [{"num_tokens": 12}, {"num_tokens": 30}])


def test_a_step_that_is_done_has_its_true_figures(tmp_path: Path) -> None:
    with Run(tmp_path, "mine") as run:
        artifact = run.step("explicit", "candidates", count, settings={}, seed=1)
    told = made(artifact)
    assert told.written == 42
    assert told.seconds == artifact.manifest["seconds"]
    assert told.disk_bytes == (artifact.path / "records.jsonl").stat().st_size


@pytest.mark.parametrize("engine", ["transformers", *(name for name in ("vllm",) if importlib.util.find_spec(name))])
def test_a_model_too_large_is_refused_before_any_work(run_cli: RunCli, tmp_path: Path, engine: str) -> None:
    words = ("model=qwen2.5-32b", "model.shape.layers=6400", f"engine={engine}")
    code, shown, errors = run_cli("stage=1", *words, root=tmp_path)
    assert (code, shown) == (2, "")
    (line,) = errors.splitlines()
    assert "model=qwen2.5-32b does not fit: generation takes" in line
    assert "take a smaller model=…" in line
    assert list(tmp_path.iterdir()) == []


def test_a_merge_that_only_fits_beside_the_card_is_refused_with_the_fix() -> None:
    config = composed(A100, "merge.device=auto")
    with pytest.raises(UserError, match=r"merging takes 123 GiB or more of memory, and here are 79: write merge\.device=cpu"):
        require_fit(config, config.machine)
    require_fit(composed(A100), config.machine)


def test_no_run_that_works_is_refused() -> None:
    """The default model trains in 4.8 GiB with micro-batches of four, and in less with smaller ones."""
    config = composed()
    for memory, fits in ((5.0, True), (4.0, True), (2.0, False)):
        here = dataclasses.replace(config.machine, device="cpu", memory_gib=memory, ram_gib=memory)
        if fits:
            require_fit(config, here)
        else:
            with pytest.raises(UserError, match="model=gemma-3-270m does not fit"):
                require_fit(config, here)


def test_nothing_is_refused_that_nobody_can_reckon(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    config = composed("model=path", f"model.path={tmp_path}")
    require_fit(config, dataclasses.replace(config.machine, device="cpu", memory_gib=0.1, ram_gib=0.1))
    assert "–" in planned("model=path", f"model.path={tmp_path}", "machine=two_cores")


def test_the_shape_and_the_machine_change_nothing_of_a_run(tmp_path: Path) -> None:
    def addresses(*overrides: str) -> list[str]:
        return [row.step.digest for row in rows_of(composed(f"paths.root={tmp_path}", *overrides))]

    plain = addresses("machine=two_cores")
    assert addresses("machine=l40s_48gb", "model.shape.layers=99", "merge.device=cpu") == plain
    assert addresses("machine=two_cores", "merge.num_prompts=3") != plain


def test_rewards_are_measured_against_the_parent_or_the_base_model(tmp_path: Path) -> None:
    def adapters(reference: str) -> list[tuple[str, dict[str, str]]]:
        """Of stages 1 and 2: the model that comes before, and what the adapter is trained with."""
        words = (f"paths.root={tmp_path}", f"train.reference={reference}")
        planners = planning.walk([composed(*words, stage=name) for name in ("explicit", "implicit")])
        found = [{each.name: each for each in planner.steps} for planner in planners]
        inputs = [{key: artifact.digest for key, artifact in steps["adapter"].inputs.items()} for steps in found]
        return list(zip((found[0]["base"].digest, found[0]["model"].digest), inputs, strict=True))

    for reference in ("previous", "base"):
        (base, first), (parent, second) = adapters(reference)
        assert first["model"] == base != parent == second["model"]
        assert "reference" not in first  # the base model is the parent itself
        assert second.get("reference") == (base if reference == "base" else None)


def test_roles_go_to_the_models_that_the_configuration_names(tmp_path: Path) -> None:
    words = {"constitutional": ("stage.roles.critic=evaluation", "stage.roles.reviser=revision")}
    names = stages.CURRICULUM[1:]
    planners = planning.walk([composed(f"paths.root={tmp_path}", *words.get(name, ()), stage=name) for name in names])
    models = {each.digest: planner.config.stage.name for planner in planners for each in planner.steps if each.name == "model"}
    (last,) = (planner for planner in planners if planner.config.stage.name == "constitutional")
    by = {each.name: models.get(each.inputs["model"].digest) for each in last.steps if "model" in each.inputs}
    assert (by["critiques"], by["revisions"]) == ("evaluation", "revision")
    # Nothing else goes to another model for it; by default these two are the base model's (the whole curriculum's test).
    assert (by["originals"], by["verdicts"], by["rejected"]) == ("implicit", "evaluation", "revision")


def test_this_machine_is_measured_once_and_a_named_one_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def measure(device: str) -> dict[str, Any]:
        measured.append(device)
        return {"device": "cpu", "fp32_gflops": 150.0, "bf16_gflops": 1.0, "bandwidth_gb_s": 30.0}

    monkeypatch.setattr(machine, "measure_in_child", measure)
    planned("machine=two_cores", f"paths.root={tmp_path}", "engine.device=cpu")
    assert measured == []
    configs = [composed(f"paths.root={tmp_path}", "engine.device=cpu", stage=name) for name in ("explicit", "implicit")]
    shown = render_plan(rows_of(*configs), {})
    assert measured == ["cpu"]
    assert "assumed: auto, 0.15 TFLOP/s" in shown
    scripted = composed("engine=scripted", "model=tiny-random").engine
    assert isinstance(scripted, EngineConfig)
    assert machine.known(composed().machine, scripted, tmp_path, "default").tflops == 0
    assert measured == ["cpu"]
