"""The gate's three checks, each failing alone, and the baseline's decision about a gap."""

from __future__ import annotations

import pytest
from outcomes import outcome

from cai_bootstrap.config import GateConfig
from cai_bootstrap.errors import UserError
from cai_bootstrap.records import EvalRecord, GateResult
from cai_bootstrap.steps.gate import evaluate_gate, has_gap

TOTAL = 300


def arm(name: str, *, content: int, strict: int, total: int = TOTAL) -> list[EvalRecord]:
    """Items 0 … content−1 are right, items 0 … strict−1 are right with a proper end."""
    return [outcome(f"i{index}", content=index < content, strict=index < strict, arm=name) for index in range(total)]


def gate_config(override: str | None = None) -> GateConfig:
    return GateConfig(
        retention_items=0,
        min_strict=0.7,
        max_p_value=1e-6,
        noninferiority_margin=0.05,
        max_loss=0.03,
        loss_margin=0.06,
        override=override,
    )


def decide(*, trained: int, cued: int, fewshot: int, override: str | None = None) -> GateResult:
    base = {
        "raw": arm("raw", content=5, strict=0),
        "cued": arm("cued", content=cued, strict=0),
        "fewshot": arm("fewshot", content=fewshot, strict=0),
    }
    trained_arm = arm("trained", content=TOTAL, strict=trained)
    return evaluate_gate("explicit", gate_config(override), trained_arm, base, ["a warning"])


def outcomes(result: GateResult) -> list[bool]:
    return [check["passed"] for check in result.checks]


def test_a_good_model_passes_every_check() -> None:
    result = decide(trained=240, cued=90, fewshot=230)
    assert result.passed
    assert outcomes(result) == [True, True, True]
    assert (result.stage, result.override, result.warnings) == ("explicit", None, ["a warning"])
    strict = result.checks[0]
    assert (strict["value"], strict["threshold"]) == (0.8, 0.7)
    assert strict["low"] == pytest.approx(0.7511, abs=5e-5)
    assert strict["high"] == pytest.approx(0.8413, abs=5e-5)
    assert strict["reason"] == "Trained strict 80.0 % [75.1, 84.1] (240 of 300) reaches 70.0 %."
    assert "150 against 0 of 300 items" in result.checks[1]["reason"]


def test_each_check_fails_alone() -> None:
    too_low = decide(trained=209, cued=90, fewshot=200)
    assert (outcomes(too_low), too_low.passed) == ([False, True, True], False)
    assert "is below 70.0 %" in too_low.checks[0]["reason"]
    # 19 discordant pairs, all won: p = 2 · 0.5¹⁹ = 3.8e-6, and one in a million is asked for
    no_gain = decide(trained=229, cued=210, fewshot=220)
    assert (outcomes(no_gain), no_gain.passed) == ([True, False, True], False)
    assert "3.8e-06" in no_gain.checks[1]["reason"]
    below = decide(trained=220, cued=90, fewshot=232)
    assert (outcomes(below), below.passed) == ([True, True, False], False)
    assert "may be below" in below.checks[2]["reason"]


def retained(before: int, after: int, total: int = TOTAL) -> GateResult:
    base = {"cued": arm("cued", content=90, strict=0), "fewshot": arm("fewshot", content=230, strict=0)}
    suites = {"explicit": (arm("parent", content=total, strict=before, total=total),
                           arm("trained", content=total, strict=after, total=total))}  # fmt: skip
    return evaluate_gate("implicit", gate_config(), arm("trained", content=TOTAL, strict=240), base, [], suites)


def test_what_the_stages_before_taught_is_kept() -> None:
    kept = retained(250, 245)
    assert (kept.passed, outcomes(kept)) == (True, [True] * 4)
    check = kept.checks[3]
    assert (check["name"], check["threshold"]) == ("retention of explicit", -0.03)
    assert check["value"] == pytest.approx(-5 / 300)
    assert "keeps what stage explicit taught: strict 81.7 % [" in check["reason"]
    assert retained(250, 260).passed


def test_a_lost_ability_fails_the_gate() -> None:
    lost = retained(250, 240)  # 3.3 points
    assert (lost.passed, outcomes(lost)) == (False, [True, True, True, False])
    assert "may have lost" in lost.checks[3]["reason"]
    # Few items: the loss of 2.5 points may be one of more than 6.
    assert not retained(35, 34, total=40).passed


def test_the_raw_arm_may_hold_a_draw_of_the_items_and_no_others() -> None:
    base = {name: arm(name, content=90, strict=0) for name in ("cued", "fewshot")}
    drawn = arm("raw", content=5, strict=0)[:100]
    trained = arm("trained", content=TOTAL, strict=240)
    full = evaluate_gate("explicit", gate_config(), trained, base)
    assert evaluate_gate("explicit", gate_config(), trained, {**base, "raw": drawn}) == full
    with pytest.raises(UserError, match="base raw"):
        evaluate_gate("explicit", gate_config(), trained[1:], {**{a: r[1:] for a, r in base.items()}, "raw": drawn})


def test_the_rate_asked_for_is_enough() -> None:
    assert outcomes(decide(trained=210, cued=90, fewshot=200))[0]


def test_a_significant_loss_is_no_gain() -> None:
    result = decide(trained=210, cued=300, fewshot=200)
    assert outcomes(result)[1] is False
    assert result.checks[1]["value"] == pytest.approx(-0.3)


def test_learning_only_to_stop_is_no_gain() -> None:
    # Content as before, now with a proper end: strict against the base's content shows no difference.
    result = decide(trained=220, cued=220, fewshot=220)
    assert outcomes(result) == [True, False, True]
    assert result.checks[1]["value"] == 0.0


def test_an_override_is_recorded_and_passes_nothing() -> None:
    result = decide(trained=100, cued=90, fewshot=230, override="only a smoke test")
    assert (result.passed, result.override) == (False, "only a smoke test")
    result = decide(trained=300, cued=90, fewshot=230, override="only a smoke test")
    assert (result.passed, result.override) == (True, None), "there was nothing to override"


def test_every_check_row_has_its_keys_and_round_trips() -> None:
    result = decide(trained=240, cued=90, fewshot=230)
    for check in result.checks:
        assert {"name", "value", "low", "high", "threshold", "passed", "reason"} <= check.keys()
        assert check["low"] <= check["value"] <= check["high"]
        assert check["reason"].endswith(".")
    assert GateResult.from_row(result.to_row()) == result


def test_other_items_in_an_arm_are_refused() -> None:
    trained = arm("trained", content=240, strict=240)
    base = {"cued": arm("cued", content=90, strict=0), "fewshot": arm("fewshot", content=230, strict=0, total=299)}
    with pytest.raises(UserError, match=r"fewshot.*'i299'"):
        evaluate_gate("explicit", gate_config(), trained, base, [])
    with pytest.raises(UserError, match="'fewshot'"):
        evaluate_gate("explicit", gate_config(), trained, {"cued": base["cued"]}, [])
    with pytest.raises(UserError):
        evaluate_gate("explicit", gate_config(), [], {"cued": [], "fewshot": []}, [])


def test_a_gap_is_few_shot_content_above_cued_strict() -> None:
    gap, test, reason = has_gap(arm("cued", content=90, strict=2), arm("fewshot", content=220, strict=0))
    assert gap
    assert (test.only_first, test.only_second) == (218, 0)
    assert reason.startswith("There is a gap to train: few-shot content 73.3 % [68.1, 78.0] against cued strict 0.7 % [")


@pytest.mark.parametrize(("cued_strict", "fewshot"), [(295, 297), (295, 200), (0, 5), (150, 150)])
def test_no_gap_skips_the_stage_and_says_so(cued_strict: int, fewshot: int) -> None:
    cued = arm("cued", content=TOTAL, strict=cued_strict)
    gap, _, reason = has_gap(cued, arm("fewshot", content=fewshot, strict=0))
    assert not gap
    assert "skipped" in reason


def test_six_won_items_are_the_smallest_gap() -> None:
    # 2 · 0.5⁵ = 0.0625 and 2 · 0.5⁶ = 0.03125
    assert not has_gap(arm("cued", content=0, strict=0), arm("fewshot", content=5, strict=0))[0]
    assert has_gap(arm("cued", content=0, strict=0), arm("fewshot", content=0, strict=0), labels_known=True)[0]
    assert has_gap(arm("cued", content=0, strict=0), arm("fewshot", content=6, strict=0))[0]
