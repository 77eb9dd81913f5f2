"""What a run's last table shows, and the progress lines before it."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace

import pytest
from outcomes import outcome
from rich.console import Console

from cai_bootstrap.config import GateConfig
from cai_bootstrap.errors import UserError
from cai_bootstrap.records import EvalRecord, GateResult
from cai_bootstrap.report import progress as progress_module
from cai_bootstrap.report.progress import ConsoleProgress, duration
from cai_bootstrap.report.tables import Report, as_markdown, render_text, result_table
from cai_bootstrap.steps.gate import evaluate_gate

KINDS = ("answer", "complete", "generate", "respond")
LONG_PATH = "checkpoints/" + "long-directory/" * 12 + "model.safetensors"


def arm(name: str, *, content: int, strict: int) -> list[EvalRecord]:
    return [
        outcome(f"i{index}", content=index < content, strict=index < strict, kind=KINDS[index % 4], arm=name)
        for index in range(100)
    ]


@pytest.fixture
def shown() -> Report:
    base = {
        "raw": arm("raw", content=5, strict=0),
        "cued": arm("cued", content=30, strict=0),
        "fewshot": arm("fewshot", content=70, strict=1),
    }
    trained = arm("trained", content=82, strict=75)
    gate = GateConfig(
        retention_items=0,
        min_strict=0.7,
        max_p_value=1e-6,
        noninferiority_margin=0.05,
        max_loss=0.03,
        loss_margin=0.06,
        override=None,
    )
    return Report(
        suite="explicit",
        arms=base,
        trained=trained,
        gate=evaluate_gate("explicit", gate, trained, base, ["dtype [float32] was measured"]),
        artifacts={"merged model": LONG_PATH, "pairs": "data/runs/pairs/pairs.parquet"},
        next_command="python -m cai_bootstrap stage=2",
        minutes={"prompts": 4.26, "drafts": 10.0},
        call_minutes=1.25,
        warnings=["dtype [float32] was measured", "the base model is instruction-tuned [red]"],
    )


def test_the_text_shows_every_arm_with_intervals(shown: Report) -> None:
    text = render_text(shown)
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "30.0 % [21.9, 39.6]" in rows["base cued"]
    assert "0.0 % [0.0, 3.7]" in rows["base cued"]
    assert "5.0 % [2.2, 11.2]" in rows["base raw"]
    assert "70.0 % [60.4, 78.1]" in rows["base few-shot"]
    assert "82.0 % [73.3, 88.3]" in rows["trained"]
    assert "75.0 % [65.7, 82.5]" in rows["trained"]
    assert rows["trained"].rstrip().endswith("100")
    assert "+45.0 [" in rows["trained strict vs cued content"]
    assert "+5.0 [" in rows["trained strict vs few-shot content"]


def test_no_rate_stands_without_its_interval(shown: Report) -> None:
    text = " ".join(render_text(shown).split())  # a sentence may break over lines
    thresholds = text.replace("reaches 70.0 %.", "")
    assert not re.findall(r"\d %(?! \[)", thresholds.replace("[95 %]", "").replace("95 % Wilson", ""))
    assert len(re.findall(r"\d %(?= \[)", text)) >= 8


def test_the_text_shows_kinds_gate_artifacts_time_warnings_and_the_next_command(shown: Report) -> None:
    text = render_text(shown)
    for kind in KINDS:
        assert re.search(rf"^{kind} +25 .*% \[.*% \[.*\[.*e-0\d$", text, flags=re.MULTILINE), kind
    assert "Benjamini–Hochberg" in text
    assert "Gate of stage explicit: passed" in text
    assert text.count("✓") == 3
    assert f"merged model: {LONG_PATH}" in text.replace("\n    ", " ")
    assert re.search(r"prompts +4\.3\n.*drafts +10\.0\n.*together +14\.3", text)
    assert text.count("dtype [float32] was measured") == 1
    assert "instruction-tuned [red]" in text
    assert text.endswith("Next\n  python -m cai_bootstrap stage=2\n")


def test_the_text_is_110_columns_wide_apart_from_what_cannot_break(shown: Report) -> None:
    lines = [line for line in render_text(shown).splitlines() if "long-directory" not in line]
    assert max(map(len, lines)) <= 110
    assert "…" not in render_text(shown)


def test_a_failed_gate_says_so(shown: Report) -> None:
    gate = GateConfig(
        retention_items=0,
        min_strict=0.95,
        max_p_value=1e-6,
        noninferiority_margin=0.05,
        max_loss=0.03,
        loss_margin=0.06,
        override="a smoke test",
    )
    assert shown.trained is not None
    text = render_text(replace(shown, gate=evaluate_gate("explicit", gate, shown.trained, shown.arms, [])))
    assert "Gate of stage explicit: NOT passed" in text
    assert (text.count("✓"), text.count("✗")) == (2, 1)
    assert "is below 95.0 %" in text
    assert "override, recorded with the result: a smoke test" in text


def test_without_a_trained_model_the_gap_is_shown(shown: Report) -> None:
    text = " ".join(render_text(replace(shown, trained=None, gate=None, gap="There is a gap to train.")).split())
    assert "few-shot content vs cued strict" in text
    assert "There is a gap to train" in text
    assert "Gate" not in text


def test_principles_are_told_with_what_was_judged_by_them(shown: Report) -> None:
    counted = {"adhered": 6, "judged": 8, "value": 0.75, "low": 0.409, "high": 0.929}
    never = {"adhered": 0, "judged": 0, "value": None, "low": None, "high": None}
    found = {
        "be-kind": {"category": "respect", "used": 7, **counted},
        "be-fair": {"category": "respect", "used": 2, **never},
        "be-brief": {"category": "clarity", "used": 0, **never},
    }
    text = render_text(replace(shown, adherence=found))
    assert re.search(r"be-kind +respect +7 +8 +75\.0 % \[40\.9, 92\.9\]\n", text)
    assert re.search(r"be-brief +clarity +0 +0 +–\n", text)
    assert "pairs by category: respect 9, clarity 0" in text
    assert "By principle" not in render_text(shown)


def test_rich_and_plain_say_the_same(shown: Report) -> None:
    console = Console(width=110, file=io.StringIO(), record=True)
    console.print(result_table(shown))
    rich_words = console.export_text().split()
    folded = "".join(rich_words)
    assert all(word in folded for word in render_text(shown).split())


def test_markdown_tables_are_well_formed(shown: Report) -> None:
    markdown = as_markdown(shown)
    assert "| trained | 82.0 % [73.3, 88.3] | 75.0 % [65.7, 82.5] | 100 |" in markdown
    for block in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
        assert set(block.splitlines()[1]) <= set("|-: ")
    assert "- python -m cai_bootstrap stage=2" in markdown


def test_wrong_arms_are_refused(shown: Report) -> None:
    with pytest.raises(UserError, match="'few-shot' is unknown"):
        render_text(replace(shown, arms={"few-shot": shown.arms["fewshot"]}))
    assert shown.trained is not None
    with pytest.raises(UserError, match="same items"):
        render_text(replace(shown, trained=shown.trained[:50]))


def test_a_gate_of_another_stage_needs_only_the_common_keys(shown: Report) -> None:
    check = {"name": "safer", "value": 0.1, "low": 0.0, "high": 0.2, "threshold": 0, "passed": False, "reason": "No."}
    other = GateResult(stage="constitutional", passed=False, checks=[check])
    assert "✗ safer: No." in render_text(replace(shown, gate=other))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module.ConsoleProgress, "now_s", staticmethod(clock))
    return clock


def test_plain_lines_come_at_the_start_the_end_and_at_most_every_15_s(clock: Clock) -> None:
    stream = io.StringIO()
    with ConsoleProgress(stream).task("drafts", 420) as task:
        for step in range(1, 43):
            clock.now_s += 5
            task.update(10 * step)
        task.line("a note")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "drafts: 0/420"
    assert lines[1] == "drafts: 30/420, 3.2 min left"
    assert lines[-2:] == ["a note", "drafts: 420/420, done in 3.5 min"]
    assert len(lines) == 1 + 42 // 3 + 2


def test_what_was_there_before_does_not_count_for_the_pace(clock: Clock) -> None:
    stream = io.StringIO()
    with ConsoleProgress(stream).task("drafts", 420) as task:
        task.update(400)
        clock.now_s += 100
        task.update(410)
        assert task.seconds_left() == 100
    assert "drafts: 410/420, 1.7 min left" in stream.getvalue()


def test_an_unknown_total_shows_the_time_so_far(clock: Clock) -> None:
    stream = io.StringIO()
    with ConsoleProgress(stream).task("prompts", None) as task:
        clock.now_s += 20
        task.update(7)
    assert stream.getvalue().splitlines() == ["prompts: started", "prompts: 7, 20 s so far", "prompts: 7, done in 20 s"]


def test_an_error_passes_through_and_is_told() -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(stream)
    with pytest.raises(ZeroDivisionError), progress.task("drafts", 420) as task:  # noqa: PT012
        task.update(96)
        raise ZeroDivisionError
    assert "drafts: stopped at 96/420 after 0 s" in stream.getvalue()


def test_the_heartbeat_breaks_the_silence_and_ends_with_the_task() -> None:
    stream = io.StringIO()
    progress = ConsoleProgress(stream, heartbeat_s=0.1)
    with progress.task("outer", 2), progress.task("load", None):
        time.sleep(0.45)
    beats = [line for line in stream.getvalue().splitlines() if line.endswith("(still running)")]
    assert 2 <= len(beats) <= 4
    assert all(beat.startswith("load: ") for beat in beats)  # the outer task keeps quiet meanwhile
    size = len(stream.getvalue())
    time.sleep(0.25)
    assert len(stream.getvalue()) == size


def test_a_terminal_gets_bars_and_lines_above_them() -> None:
    stream = Terminal()
    progress = ConsoleProgress(stream)
    with progress.task("drafts [a]", 420) as task:
        task.update(420)
        with progress.task("inner", None) as inner:
            inner.update(3)
        task.line("a [note]")
    progress.line("after")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "420/420" in shown
    assert "drafts [a]" in shown
    assert "3/3" in shown
    assert "a [note]" in shown
    assert shown.rstrip().endswith("after")


@pytest.mark.parametrize(("seconds", "text"), [(35, "35 s"), (126, "2.1 min"), (5760, "1.6 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
