"""A run: a name that maps each stage to its steps and its gate; and `Run.step`, the whole resume mechanism."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cai_bootstrap.errors import CorruptArtifact, MissingArtifact, StepFailed, UserError
from cai_bootstrap.redact import redact_values
from cai_bootstrap.store.artifacts import Artifact, Store, write_manifest
from cai_bootstrap.store.files import (
    TEMPORARY_SUFFIX,
    full_disk,
    make_folder,
    read_sealed,
    remove_leftovers,
    storage_errors,
    write_sealed,
)
from cai_bootstrap.store.lock import Lease, artifact_lock, run_lock, start_lock
from cai_bootstrap.store.provenance import canonical_json, code_revision, library_versions
from cai_bootstrap.store.work import (
    IN_PROGRESS_ONLY,
    Progress,
    SilentProgress,
    StepFunction,
    Task,
    Work,
    commit,
    is_complete,
    step,
    step_digest,
    step_facts,
    without_setting,
)

__all__ = ["Progress", "Run", "SilentProgress", "Task", "Work", "read_run", "run_folder", "step", "step_digest", "step_facts"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def run_folder(root: Path, name: str) -> Path:
    """Where a run's pointers live. Raises UserError for a name that is no plain folder name."""
    _check_name("run", name)
    return Path(root) / "data" / "runs" / name


def run_names(root: Path) -> list[str]:
    """The names of all runs, sorted."""
    return sorted(path.parent.name for path in (Path(root) / "data" / "runs").glob("*/run.json"))


def read_run(root: Path, name: str) -> dict[str, Any] | None:
    """The content of a run's `run.json`, read without the run's lock; None when there is no such run.

    Raises CorruptArtifact when it is unreadable.
    """
    path = run_folder(root, name) / "run.json"
    way_out = "remove it and run the same command again; finished steps are found by their digests"
    state = read_sealed(path, way_out)
    if state is not None and state.get("name") != name:
        raise CorruptArtifact(f"{path} cannot be read (it is that of run {state.get('name')!r}): {way_out}")
    return state


def read_config(root: Path, run: str, stage: str) -> dict[str, Any] | None:
    """A stage's resolved config as `Run.save_config` left it; None when it has not begun. Raises CorruptArtifact."""
    return read_sealed(run_folder(root, run) / stage / "config.json", "remove it and run the same command again")


class Run:
    """A run that this process holds. Use as a context manager; raises RunLocked when another process has it."""

    def __init__(self, root: Path, name: str, progress: Progress | None = None, made: list[Artifact] | None = None) -> None:
        """`made` gets every artifact that this process computes, as soon as it is there; what comes after may fail."""
        self.folder = run_folder(root, name)
        self.root = Path(root)
        self.name = name
        self.store = Store(self.root)
        self.progress: Progress = progress or SilentProgress()
        self.computed: list[str] = []
        """Names of the steps that this process made, in order."""
        self.reused: list[str] = []
        """Names of the steps that were found, in order."""
        self._made: list[Artifact] = [] if made is None else made
        self._state: dict[str, Any] = {}
        self._warned: dict[str, list[str]] = {}
        self._visited: dict[str, list[str]] = {}
        """By stage the steps that this process asked for, in order."""
        self._resources = contextlib.ExitStack()
        self._lease: Lease | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as resources:
            with start_lock(self.root):
                self._lease = resources.enter_context(run_lock(self.folder, f"run {self.name}"))
            remove_leftovers(self.folder)
            state = read_run(self.root, self.name)
            if state is None:
                state = {"name": self.name, "created_at": _now(), "stages": {}}
                self._save(state)
            self._state = state
            self._resources = resources.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._resources.close()
        self._state = {}

    def step(
        self,
        stage: str,
        name: str,
        function: StepFunction,
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Artifact] | None = None,
        values: Mapping[str, Any] | None = None,
        seed: int,
    ) -> Artifact:
        """The artifact of `function(work, **inputs, **values)`: found by its digest, or computed and committed.

        While another process makes the same artifact this one waits. After a kill the next call goes on from the
        journal. Raises CorruptArtifact, DiskFull, UserError (names, values that JSON cannot hold), and what the
        function raises; its partial folder then stays for the next call.
        """
        self._require_held()
        _check_name("stage", stage)
        _check_name("step", name)
        inputs, values = dict(inputs or {}), _as_json(dict(values or {}))
        if twice := inputs.keys() & values.keys():
            raise UserError(f"{sorted(twice)} given both as inputs and as values: write each once")
        settings = _as_json(dict(settings))
        facts = step_facts(function, settings, {key: item.digest for key, item in inputs.items()}, values, seed)
        address = step_digest(facts)
        artifact = self.store.find(stage, name, address)
        if artifact is None:
            folder = self.store.folder(stage, name, address)
            with artifact_lock(folder, f"{stage}/{name}") as lease:
                artifact = self.store.find(stage, name, address)
                if artifact is None:
                    partial = folder.with_name(folder.name + ".partial")
                    self._compute(partial, function, (stage, name, address), facts, inputs, lease)
                    artifact = self.store.find(stage, name, address)
                    self.computed.append(name)
                    if artifact is not None:
                        self._made.append(artifact)
                else:
                    self.reused.append(name)
        else:
            self.reused.append(name)
        if artifact is None:
            raise MissingArtifact(f"{stage}/{name} vanished while it was made: run the same command again")
        self._point(stage, name, artifact)
        return artifact

    def record_stage(
        self, stage: str, gate: Artifact | None, passed: bool, skipped: bool = False, override: str | None = None
    ) -> None:
        """Record a stage's gate. `override` names who let a failed gate pass and why.

        It stays as long as the gate, and in the stage's `overrides` for ever, whatever gate comes after.
        """
        entry = self._entry(stage)
        if override is None and gate is not None and (entry["gate"] or {}).get("digest") == gate.digest:
            override = entry["gate"]["override"]
        if override is not None and override not in entry.setdefault("overrides", []):
            entry["overrides"].append(override)
        entry["gate"] = None if gate is None else {"digest": gate.digest, "passed": passed, "override": override}
        entry["skipped"] = skipped
        self._save(self._state)

    def stage(self, stage: str) -> dict[str, Any] | None:
        """What `run.json` holds on a stage (steps, gate, skipped, warnings, overrides), a copy; None when it never started."""
        self._require_held()
        entry = self._state["stages"].get(stage)
        return None if entry is None else dict(json.loads(json.dumps(entry)))

    def artifact(self, stage: str, name: str) -> Artifact | None:
        """The artifact that this run points to, or None when it has none. Raises CorruptArtifact."""
        entry = self.stage(stage)
        address = None if entry is None else entry["steps"].get(name)
        return None if address is None else self.store.find(stage, name, address)

    def warnings(self, stage: str) -> list[str]:
        """The warnings about validity that a stage's steps have left so far."""
        self._require_held()
        return list(self._state["stages"].get(stage, {}).get("warnings", []))

    def save_config(self, stage: str, config: Mapping[str, Any]) -> None:
        """Write a stage's resolved config beside its pointers. Raises UserError when JSON cannot hold it."""
        self._require_held()
        _check_name("stage", stage)
        write_sealed(self.folder / stage / "config.json", redact_values(config))

    def _compute(
        self,
        partial: Path,
        function: StepFunction,
        address: tuple[str, str, str],
        facts: dict[str, Any],
        inputs: dict[str, Artifact],
        lease: Lease,
    ) -> None:
        def require_locks() -> None:
            self._require_held()
            lease.require()

        stage, name, digest = address
        final = partial.with_name(partial.name.removesuffix(".partial"))
        if final.exists():
            # Folders are renamed into place whole, so this one was altered by somebody; what to do is for them to say.
            raise CorruptArtifact(f"{final} has no manifest: remove this folder and run the same command again")
        if not is_complete(partial, stage, name, digest):
            resumed = partial.exists()
            # The function gets copies: what it changes in them must not reach the manifest.
            seeded_by, shorter = self._before_growth(function, stage, name, facts)
            settings = _as_json(facts["settings"])
            work = Work(stage, name, digest, partial, facts["seed"], settings, self.progress, require_locks, seeded_by, shorter)
            try:
                with work:
                    function(work, **inputs, **_as_json(facts["values"]))
            except Exception as error:
                if (full := full_disk(error, partial)) is not None:
                    raise full from error
                raise
            manifest = {**facts, "stage": stage, "name": name, "digest": digest, **work.summary()}
            manifest |= {"created_at": _now(), "resumed": resumed}
            manifest |= {"code_revision": code_revision(), "libraries": library_versions()}
            if (manifest["engine"] or {}).get("scripted") or any(item.is_scripted for item in inputs.values()):
                manifest["scripted"] = True  # whatever comes of a scripted text claims nothing, however it was made
            remove_leftovers(partial)
            require_locks()
            write_manifest(partial, manifest, skip=IN_PROGRESS_ONLY)
        require_locks()
        commit(partial, final)

    def _before_growth(
        self, function: StepFunction, stage: str, name: str, facts: dict[str, Any]
    ) -> tuple[str, Artifact | None]:
        """What the seeds of a step's shards come of, and its artifact with the largest smaller value of the setting that it
        grows with, where it has both.
        """
        if not (grows := getattr(function, "step_grows", "")):
            return "", None
        rest, limit = without_setting(facts, grows)
        same, seeded_by = dict[Any, Artifact](), step_digest(rest)
        for made in self.store.versions(stage, name):
            if all(made.manifest[key] == facts[key] for key in ("function", "version")):  # others may have other settings
                other, smaller = without_setting(made.manifest, grows)
                if smaller < limit and step_digest(other) == seeded_by:
                    same[smaller] = made
        return seeded_by, same[max(same)] if same else None

    def _point(self, stage: str, name: str, artifact: Artifact) -> None:
        entry = self._entry(stage)
        before = json.dumps(entry)
        visited = self._visited.setdefault(stage, [])
        if name in visited:
            del visited[visited.index(name) :]
        if entry["steps"].get(name) != artifact.digest:
            # What came after an earlier version of this step was made from it, and the gate judged that: a run never
            # points to a mix of two configurations. A step that is new to the run stands behind them, but came before.
            names = list(entry["steps"])
            for stale in names[names.index(name) :] if name in names else []:
                if stale in visited:
                    continue
                del entry["steps"][stale]
                (self.folder / stage / stale).unlink(missing_ok=True)
            entry["gate"], entry["skipped"] = None, False
            entry["warnings"] = list(dict.fromkeys(self._warned.get(stage, [])))
            entry["steps"][name] = artifact.digest
        visited.append(name)
        for text in artifact.manifest["warnings"]:
            if text not in entry["warnings"]:
                entry["warnings"].append(text)
            self._warned.setdefault(stage, []).append(text)
        self._link(stage, name, artifact.path)
        if json.dumps(entry) != before:
            self._save(self._state)

    def _link(self, stage: str, name: str, target: Path) -> None:
        link = self.folder / stage / name
        relative = os.path.relpath(target.resolve(), link.parent.resolve())
        if link.is_symlink() and str(link.readlink()) == relative:
            return
        with storage_errors(link):
            make_folder(link.parent)
            temporary = link.with_name(f".{name}{TEMPORARY_SUFFIX}")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(relative)
            temporary.replace(link)

    def _entry(self, stage: str) -> dict[str, Any]:
        self._require_held()
        _check_name("stage", stage)
        empty: dict[str, Any] = {"steps": {}, "gate": None, "skipped": False, "warnings": []}
        entry: dict[str, Any] = self._state["stages"].setdefault(stage, empty)
        return entry

    def _save(self, state: dict[str, Any]) -> None:
        assert self._lease is not None  # since __enter__
        self._lease.require()
        write_sealed(self.folder / "run.json", state)

    def _require_held(self) -> None:
        if not self._state:
            raise StepFailed(f"run {self.name} is not held: use it inside `with Run(...) as run:`")
        assert self._lease is not None  # since __enter__
        self._lease.require()


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        rule = "letters, digits, '.', '_' and '-', at most 100, a letter or digit first"
        raise UserError(f"{what} name {name!r} is not valid: write {rule}")


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """A copy as it comes back from JSON, so that a function sees exactly what the digest was taken of."""
    return dict(json.loads(canonical_json(value)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
