"""The card that travels with an exported model: what it came from, and what the gates on its way said, overrides included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cai_bootstrap
from cai_bootstrap import stages
from cai_bootstrap.config import Config
from cai_bootstrap.lineage import ancestry, entry_of, gate_of
from cai_bootstrap.records import GateResult
from cai_bootstrap.report.status import GATE_FILE, gate_word
from cai_bootstrap.store.artifacts import Store


def model_card(config: Config) -> str:
    """Markdown about the configured stage's model in the configured run, each rate with its interval. Reads only.

    Raises CorruptArtifact for a gate's result that was changed.
    """
    root, name = Path(config.paths.root), config.stage.name
    way = ancestry(root, config.run, stages.CURRICULUM[1 : stages.CURRICULUM.index(name) + 1])
    facts = _base_facts(root, way[0][1] if way else config.run)
    licence = ", ".join(str(facts[key]) for key in ("licence", "licence_url") if facts.get(key))
    origin = f"the base model {facts.get('name', 'of this run')}{f' ({licence})' if licence else ''}"
    lines = [
        f"# {config.run}/{name}",
        "",
        f"Trained by cai_bootstrap {cai_bootstrap.__version__} from {origin}, without human labels and without a second model. "
        "It answers one user message at a time; `chat_template.jinja` holds the format.",
        "",
        "| stage | run | gate |",
        "|---|---|---|",
        *(f"| {stage} | {run} | {gate_word(entry)} |" for stage, run, entry in way),
    ]
    for stage, _, entry in way:
        if (gate := gate_of(root, stage, entry)) is not None:
            result = GateResult.from_row(gate.json(GATE_FILE))
            lines += ["", f"## {stage}", ""]
            lines += [f"- {'passed' if check['passed'] else 'NOT passed'}: {check['reason']}" for check in result.checks]
            lines += [f"- override: {result.override}"] if result.override else []
            lines += [f"- warning: {text}" for text in result.warnings]
    return "\n".join(lines) + "\n"


def _base_facts(root: Path, run: str) -> dict[str, Any]:
    steps = (entry_of(root, run, stages.CURRICULUM[0]) or {"steps": {}})["steps"]
    base = Store(root).find(stages.CURRICULUM[0], "base", steps["base"]) if "base" in steps else None
    return {} if base is None else dict(base.json("facts.json"))
