"""What each step's result depends on in the code: its own source and every definition that it reaches by name.

A step's artifact is addressed by the step's version, not by its source, so a changed step with an unchanged version
would hand out old results. `tests/golden/steps.json` holds the version and the digests that were last accepted;
`python tests/step_sources.py` accepts the present ones: steps with a raised version always, others only when they are
named after `--equivalent` (or `--equivalent all`), which says that their results stay the same to the byte.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "steps.json"
PACKAGE = "cai_bootstrap"
# What changes no result: how artifacts are stored, settings (they are in the digest by value), words of errors and
# reports, the process that an engine lives in, the measured settings, which every result is independent of, and the scripted
# engine, whose results claim nothing.
OUTSIDE = (
    "store",
    "config",
    "errors",
    "report",
    "pipeline",
    "planning",
    "resources",
    "engines.child",
    "engines.measure",
    "engines.scripted",
    "engines.scripted_texts",
    "engines.heldout_answers",
)


@dataclass
class Module:
    """A module's top-level definitions, and what its imported names stand for."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Local name to (module, name in it); an empty name stands for the module itself."""


class Sources:
    """The package's source below `root`, as definitions that refer to each other."""

    def __init__(self, root: Path = ROOT) -> None:
        folder = root / PACKAGE
        paths = {_module_name(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
        self.modules = {name: _read(path, set(paths)) for name, path in paths.items()}
        self._known: dict[tuple[str, str], tuple[str, list[tuple[str, str]]]] = {}

    def steps(self) -> dict[str, int]:
        """Every function marked with `@step`, as `module.function`, with its version."""
        found = {}
        for module, content in self.modules.items():
            for name, nodes in content.definitions.items():
                for node in nodes:
                    if isinstance(node, ast.FunctionDef) and (version := _step_version(node)) is not None:
                        found[f"{module}.{name}"] = version
        return found

    def uses(self, definition: str) -> dict[str, str]:
        """The definitions that one reaches, itself included, each with the digest of its source without docstrings."""
        found: dict[str, str] = {}
        waiting = [tuple(definition.rsplit(".", 1))]
        while waiting:
            module, name = waiting.pop()
            key = f"{module}.{name}"
            if key in found or _is_outside(module):
                continue
            if name not in self.modules[module].definitions:
                continue  # a name of a library, or a local one
            found[key], named = self._follow(module, name)
            waiting += named
        return found

    def _follow(self, module: str, name: str) -> tuple[str, list[tuple[str, str]]]:
        """A definition's digest, and the names that it uses."""
        if (module, name) not in self._known:
            nodes = self.modules[module].definitions[name]
            digest = hashlib.sha256(json.dumps([_plain(node) for node in nodes]).encode()).hexdigest()[:16]
            self._known[module, name] = digest, [used for node in nodes for used in self._named(module, node)]
        return self._known[module, name]

    def _named(self, module: str, node: ast.stmt) -> Iterator[tuple[str, str]]:
        content = self.modules[module]
        imported = content.imported | _imports(node, set(self.modules))
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                target = imported.get(part.value.id)
                if target is not None and not target[1]:
                    yield self._resolve(target[0], part.attr)
            if isinstance(part, ast.Name):
                if part.id in imported and imported[part.id][1]:
                    yield self._resolve(*imported[part.id])
                elif part.id in content.definitions:
                    yield module, part.id

    def _resolve(self, module: str, name: str) -> tuple[str, str]:
        """Where `name` of `module` is defined, through re-exports."""
        while name not in self.modules[module].definitions and self.modules[module].imported.get(name, ("", ""))[1]:
            module, name = self.modules[module].imported[name]
        return module, name


def snapshot(sources: Sources) -> dict[str, Any]:
    """What the golden file holds: each step's version and the definitions that it reaches, and their digests."""
    reached = {name: sources.uses(name) for name in sources.steps()}
    digests = {key: value for uses in reached.values() for key, value in uses.items()}
    steps = {name: {"version": version, "uses": sorted(reached[name])} for name, version in sources.steps().items()}
    return {"steps": steps, "definitions": digests}


def compare(golden: dict[str, Any], now: dict[str, Any]) -> dict[str, list[str]]:
    """The steps whose version is as accepted though their sources changed, each with the definitions that changed."""
    stale = {}
    for name, step in now["steps"].items():
        before = golden["steps"].get(name)
        if before is None or before["version"] != step["version"]:
            continue
        changed = [
            key
            for key in sorted({*before["uses"], *step["uses"]})
            if key not in before["uses"] or key not in step["uses"] or golden["definitions"][key] != now["definitions"][key]
        ]
        if changed:
            stale[name] = changed
    return stale


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


def _is_outside(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in OUTSIDE)


def _read(path: Path, modules: set[str]) -> Module:
    module = Module()
    for node in ast.parse(path.read_text()).body:
        module.imported |= _imports(node, modules)
        for name in _defined(node):
            module.definitions.setdefault(name, []).append(node)
    return module


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _imports(node: ast.AST, modules: set[str]) -> dict[str, tuple[str, str]]:
    found = {}
    for part in ast.walk(node):
        if not isinstance(part, ast.ImportFrom) or not (part.module or "").startswith(PACKAGE):
            continue
        source = (part.module or "")[len(PACKAGE) + 1 :]
        for alias in part.names:
            inner = f"{source}.{alias.name}" if source else alias.name
            found[alias.asname or alias.name] = (inner, "") if inner in modules else (source, alias.name)
    return found


def _step_version(node: ast.FunctionDef) -> int | None:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "step":
            return int(ast.literal_eval(mark.keywords[0].value))
    return None


def _plain(node: Any) -> Any:
    """A tree as lists, without docstrings, positions, and what differs between versions of Python."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value not in (None, []) and name not in ("ctx", "kind")}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        if ast.get_docstring(node, clean=False) is not None:
            fields["body"] = node.body[1:]
        # A step's version is kept beside the digests.
        fields["decorator_list"] = [mark for mark in node.decorator_list if not ast.unparse(mark).startswith("step(")]
    return [type(node).__name__, [[name, _plain(value)] for name, value in fields.items()]]


def main(words: list[str]) -> int:
    """Accept the present sources, or say which steps need a raised version. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python tests/step_sources.py", description="Accept the sources of the steps.")
    parser.add_argument("--equivalent", nargs="+", default=[], metavar="STEP", help="steps with unchanged results, or all")
    equivalent = parser.parse_args(words).equivalent
    golden, now = json.loads(GOLDEN.read_text()), snapshot(Sources())
    stale = compare(golden, now)
    refused = {name: changed for name, changed in stale.items() if name not in equivalent and equivalent != ["all"]}
    for name, changed in refused.items():
        print(f"{name} reaches changed code ({', '.join(changed)}): raise its version, or name it after --equivalent")
    if refused:
        return 1
    GOLDEN.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
