"""Secrets: found by the names of their variables, and in nothing that is printed or written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cai_bootstrap.redact import is_secret_name, redact, redact_values, redact_words, redacted_outputs, secrets
from cai_bootstrap.store.run import Run, Work, read_config, step

CHECKOUT = Path(__file__).resolve().parent.parent
CANARIES = {
    "HF_TOKEN": "hf_canary_3141592653",
    "WANDB_API_KEY": "wandb-canary-2718281828",
    "AWS_SECRET_ACCESS_KEY": "aws/canary+1414213562==",
    "MY_PASSWORD": "canary correct horse",
    "RUNPOD_API_KEY": "rpa_CANARY_1732050807",
}


@pytest.mark.parametrize("name", [*CANARIES, "tracker.api_key", "pod.password", "GITHUB_TOKEN", "PRIVATE_KEY", "PASSPHRASE"])
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "max_tokens", "eval.max_tokens", "KEY", "SECRETARY", "num_tokens"])
def test_other_names_are_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


def test_the_longest_secret_is_replaced_first() -> None:
    told = {"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefghijkl", "C_TOKEN": "short", "D_TOKEN": " \n"}
    assert secrets(told) == ["abcdefghijkl", "abcdefgh"]
    assert redact("x abcdefghijkl y abcdefgh short", told) == "x *** y *** short"


def test_values_and_words_are_redacted_by_name_and_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARIES["HF_TOKEN"])
    value = {"tracker": {"api_key": "abc"}, "paths": ["x", f"/{CANARIES['HF_TOKEN']}/y"], "n": 3, "empty_token": ""}
    assert redact_values(value) == {"tracker": {"api_key": "***"}, "paths": ["x", "/***/y"], "n": 3, "empty_token": ""}
    assert redact_words(["stage=1", "tracker.api_key=abc", CANARIES["HF_TOKEN"]]) == ["stage=1", "tracker.api_key=***", "***"]


def test_streams_are_redacted_and_given_back(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with redacted_outputs():
        print(*CANARIES.values())
        print(CANARIES["HF_TOKEN"], file=sys.stderr)
    assert sys.stdout is before
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("*** *** *** *** ***\n", "***\n")


def canaries_in(folder: Path) -> list[str]:
    """Files under `folder` that hold a secret, and names that do."""
    found = []
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if any(value.encode() in data or value in str(path.relative_to(folder)) for value in CANARIES.values()):
            found.append(str(path))
    return found


@step(version=1)
def warns(work: Work) -> None:
    work.warn(f"could not log in with {CANARIES['HF_TOKEN']}")
    work.write_json("content.json", None)


def test_warnings_and_configurations_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARIES["HF_TOKEN"])
    with Run(tmp_path, "default") as run:
        run.save_config("explicit", {"tracker": {"api_key": CANARIES["WANDB_API_KEY"]}, "url": f"x?{CANARIES['HF_TOKEN']}"})
        run.step("explicit", "drafts", warns, settings={}, seed=1)
        assert run.warnings("explicit") == ["could not log in with ***"]
    assert read_config(tmp_path, "default", "explicit") == {"tracker": {"api_key": "***"}, "url": "x?***"}
    assert canaries_in(tmp_path) == []


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **CANARIES, "PYTHONPATH": str(CHECKOUT)}
    called = [sys.executable, *words]
    return subprocess.run(called, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_an_error_that_names_a_secret_does_not_show_it(tmp_path: Path) -> None:
    path = f"model.path=/models/{CANARIES['HF_TOKEN']}"
    done = command("-m", "cai_bootstrap", "stage=1", "model=path", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "model.path=/models/*** does not exist" in done.stderr
    assert "canary" not in done.stdout + done.stderr


CRASHES = """
import sys
from cai_bootstrap import __main__
from cai_bootstrap.engines.child import Child

def broken(words):
    if "child" in sys.argv:
        Child(open, {"file": "/nowhere/" + __import__("os").environ["HF_TOKEN"]})
    raise RuntimeError("login failed for " + __import__("os").environ["HF_TOKEN"])

__main__.dispatch = broken
if __name__ == "__main__":
    sys.exit(__main__.main(["stage=1"]))
"""


@pytest.mark.parametrize("where", ["parent", "child"])
def test_a_traceback_holds_no_secret(tmp_path: Path, where: str) -> None:
    (tmp_path / "crashes.py").write_text(CRASHES)
    done = command("crashes.py", where, cwd=tmp_path)
    assert done.returncode == 1
    assert "***" in done.stderr
    assert "canary" not in (done.stdout + done.stderr).lower()
    if where == "parent":
        assert "Traceback" in done.stderr


@pytest.mark.slow
def test_no_file_and_no_output_of_a_run_holds_a_secret(tmp_path: Path) -> None:
    words = ["stage=1", "preset=small", "engine=scripted", "model=tiny-random", "engine.in_process=false"]
    done = command("-m", "cai_bootstrap", *words, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    told = json.loads((tmp_path / "data/runs/default/run.json").read_bytes())
    assert told["stages"]["explicit"]["gate"]
    assert canaries_in(tmp_path) == []
    assert not any(value in done.stdout + done.stderr for value in CANARIES.values())
