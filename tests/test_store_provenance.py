"""Digests, hashes, revision and versions."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_bootstrap.errors import UserError
from cai_bootstrap.store import provenance
from cai_bootstrap.store.provenance import canonical_json, code_revision, digest, file_sha256, library_versions

ROOT = Path(__file__).resolve().parent.parent
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def test_digest_is_the_documented_one() -> None:
    text = '{"a":[1,2.5,null],"b":"é"}'
    assert canonical_json({"b": "é", "a": (1, 2.5, None)}) == text
    assert digest({"b": "é", "a": [1, 2.5, None]}) == hashlib.sha256(text.encode()).hexdigest()


@given(JSON_VALUES)
@settings(max_examples=60, deadline=None)
def test_digest_survives_a_json_round_trip_and_any_key_order(value: object) -> None:
    assert digest(json.loads(canonical_json(value))) == digest(value)
    if isinstance(value, dict):
        assert digest(dict(reversed(value.items()))) == digest(value)


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {1: "a"}, {"a": {2: 1}}, {"a": {1, 2}}, "\ud800"])
def test_what_has_no_single_json_text_is_refused(value: object) -> None:
    with pytest.raises(UserError):
        digest(value)


def test_file_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 300_000)
    assert file_sha256(path) == hashlib.sha256(b"x" * 300_000).hexdigest()


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_revision_follows_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "cai_bootstrap" / "store" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("# code\n")
    monkeypatch.setattr(provenance, "__file__", str(module))
    revision = code_revision.__wrapped__
    _git(tmp_path, "init", "-q")
    # A checkout that merely surrounds the package, as a project does its .venv, is not the package's own.
    assert revision().startswith("package-")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert revision() == commit
    module.write_text("# changed\n")
    assert revision() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "")
    assert revision().startswith("package-")


def test_versions_come_without_imports() -> None:
    code = (
        "import sys; from cai_bootstrap.store.run import Run; "
        "from cai_bootstrap.store.provenance import library_versions as v; "
        "assert 'python' in v() and 'torch' in v(), v(); "
        "print(sorted({'torch', 'transformers', 'hydra', 'pandas', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"
    assert library_versions()["python"] == ".".join(map(str, sys.version_info[:3]))
