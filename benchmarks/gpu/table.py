"""The measured rows as Markdown, for `docs/gpu.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def markdown(report: Mapping[str, Any]) -> str:
    """A line on the machine and a table with a row for each phase; what failed says why."""
    machine, versions = report["machine"], report["machine"]["versions"]
    gpu = machine["gpu"]
    name = f"{gpu['name']}, {gpu['memory.total']}, driver {gpu['driver_version']}" if gpu else "no GPU"
    told = [f"{library} {versions[library]}" for library in ("torch", "transformers", "trl", "peft", "bitsandbytes")
            if library in versions]  # fmt: skip
    lines = [
        f"{name}; {machine['cores']} cores, {machine['memory_gib']} GiB; {', '.join(told)}; run on {report['device']}.",
        "",
    ]
    lines += ["| row | shape | layers | peak GiB: allocated, reserved | result | s |", "|---|---|---|---|---|---|"]
    for row in report["phases"]:
        result = _result(row) if "error" not in row else row["error"]
        if row.get("wrong"):
            result += f"; **{'; '.join(row['wrong'])}**"
        cells = [row["phase"], row["shape"] or "", _layers(row), _peak(row), result.replace("|", "/"), f"{row['seconds']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _layers(row: Mapping[str, Any]) -> str:
    if "layers" not in row:
        return ""
    of = row.get("of_layers", row["layers"])
    return f"{row['layers']}" if of == row["layers"] else f"{row['layers']} of {of}"


def _peak(row: Mapping[str, Any]) -> str:
    peak = row.get("peak", {})
    if "resident_gib" in peak:
        return f"resident {peak['resident_gib']:.2f}"
    return f"{peak['allocated_gib']:.1f}, {peak['reserved_gib']:.1f}" if peak else ""


def _result(row: Mapping[str, Any]) -> str:
    if row["phase"] == "matrix":
        return f"{row['tflops']:.3g} TFLOP/s ({row['size']}³, {row['dtype']})"
    if row["phase"] == "train":
        share, with_all = (row.get(name) for name in ("share_of_matrix_rate", "share_with_recomputation"))
        shares = f"; {share:.1%} of the matrix rate, {with_all:.1%} with recomputation" if share and with_all else ""
        return f"{row['tokens_per_s']:.0f} tokens/s, {row['step_s']:.3g} s a step of {row['pairs_per_step']} pairs{shares}"
    if row["phase"] == "resume":
        adapter = "equal" if row["adapter_equal"] else f"different by {row['adapter_relative_difference']:.2g} of its norm"
        return f"killed after step {row['killed_after_step']}, went on from step {row['resumed_from_step']}; adapter {adapter}"
    if row["phase"] == "write":
        return f"{row['gb']:.3g} GB at {row['gb_per_s']:.2g} GB/s"
    if row["phase"] == "generate":
        return f"{row['tokens_per_s']:.0f} tokens/s with {row['rows']} rows in {row['dtype']}"
    found = row["certificate"]
    return (
        f"largest logit difference {found['max_logit_difference']:.2g}, KL {found['mean_kl']:.2g}, "
        f"agreement {found['greedy_agreement']:.4f}"
    )
