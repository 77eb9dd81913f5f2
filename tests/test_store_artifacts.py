"""Artifacts: layout, checks of content, atomic writes, full disk."""

import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_bootstrap.errors import CorruptArtifact, DiskFull, MissingArtifact, UserError
from cai_bootstrap.store.artifacts import Artifact, Store, render_manifest, write_manifest
from cai_bootstrap.store.files import dump_row, load_rows, remove_leftovers, storage_errors, write_atomic
from cai_bootstrap.store.provenance import digest

ADDRESS = ("explicit", "pairs", digest("some step"))
ROWS = [
    {"prompt": "line one\nline two\u2028still two", "chosen": "é", "score": 0.25},
    {"prompt": "", "chosen": "b", "score": -1.0},
]


def make_artifact(root: Path, **facts: Any) -> Artifact:
    folder = Store(root).folder(*ADDRESS)
    write_atomic(folder / "records.jsonl", b"".join(map(dump_row, ROWS)))
    write_atomic(folder / "sub" / "curve.json", b'{"loss": [1.0, 0.5]}')
    stage, name, address = ADDRESS
    write_manifest(folder, {"stage": stage, "name": name, "digest": address, "warnings": [], "seconds": 1e-7} | facts)
    artifact = Store(root).find(*ADDRESS)
    assert artifact is not None
    return artifact


def use_everything(root: Path) -> None:
    artifact = Store(root).find(*ADDRESS)
    assert artifact is not None, "an artifact with a manifest must be found or refused"
    artifact.rows()
    artifact.json("sub/curve.json")


def test_layout(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("base", "adapter", "model"):
        assert store.folder("explicit", name, "ab" * 32) == tmp_path / f"checkpoints/explicit/{name}-abababababababab"
    assert store.folder("explicit", "pairs", "ab" * 32) == tmp_path / "data/store/explicit/pairs-abababababababab"
    assert store.find(*ADDRESS) is None
    assert list(tmp_path.iterdir()) == [], "looking must write nothing"


def test_reading_back(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path)
    assert artifact.rows() == ROWS == list(artifact.iter_rows())
    assert list(artifact.rows()[0]) == ["prompt", "chosen", "score"]
    assert artifact.json("sub/curve.json") == {"loss": [1.0, 0.5]}
    assert artifact.file("sub/curve.json") == artifact.path / "sub/curve.json"
    assert artifact.verify() == artifact.path
    with pytest.raises(MissingArtifact, match=r"no file 'other': it has records\.jsonl, sub/curve\.json"):
        artifact.file("other")


@given(rows=st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))))
@settings(max_examples=60, deadline=None)
def test_rows_round_trip(rows: list[dict[str, str]]) -> None:
    assert load_rows(b"".join(map(dump_row, rows))) == rows


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one sound artifact, to be copied: making one flushes to the disk each time."""
    return make_artifact(tmp_path_factory.mktemp("pristine")).path.parents[3]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_flipped_bit_and_any_truncation_is_found(
    data: st.DataObject, pristine: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("store")
    shutil.copytree(pristine, root, dirs_exist_ok=True)
    folder = Store(root).folder(*ADDRESS)
    path = folder / data.draw(st.sampled_from(["records.jsonl", "sub/curve.json", "manifest.json"]))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[position:]
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="remove this folder"):
        use_everything(root)


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    path = make_artifact(tmp_path).path / "manifest.json"
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in (0, 5):  # 5 is the bit of upper and lower case, which JSON does not tell apart everywhere
            altered = bytearray(content)
            altered[position] ^= 1 << bit
            path.write_bytes(altered)
            with pytest.raises(CorruptArtifact):
                Store(tmp_path).find(*ADDRESS)


def test_message_names_the_file_and_both_hashes(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path)
    before = artifact.manifest["files"]["records.jsonl"]["sha256"]
    path = artifact.path / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b"line", b"lime"))
    for read in (artifact.rows, lambda: artifact.file("records.jsonl"), artifact.verify):
        with pytest.raises(CorruptArtifact, match=rf"records\.jsonl has sha256 [0-9a-f]{{64}}, its manifest says {before}"):
            read()


def test_a_foreign_file_is_refused_before_a_library_could_load_it(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path)
    (artifact.path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CorruptArtifact, match=r"pytorch_model\.bin is not in the manifest"):
        artifact.verify()


def test_missing_file_and_foreign_manifest(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path)
    other = Store(tmp_path).folder("explicit", "drafts", ADDRESS[2])
    shutil.copytree(artifact.path, other)
    with pytest.raises(CorruptArtifact, match="is that of"):
        Store(tmp_path).find("explicit", "drafts", ADDRESS[2])
    (artifact.path / "records.jsonl").unlink()
    with pytest.raises(CorruptArtifact, match=r"records\.jsonl is missing"):
        Store(tmp_path).find(*ADDRESS)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/../../outside"])
def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    artifact = make_artifact(tmp_path)
    (artifact.path.parent / "outside").write_bytes(b"x")
    manifest = json.loads((artifact.path / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (artifact.path / "manifest.json").write_bytes(render_manifest(manifest))
    with pytest.raises(CorruptArtifact, match="outside of the folder"):
        Store(tmp_path).find(*ADDRESS)


def test_a_link_is_no_artifact_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="symbolic link"):
        write_manifest(tmp_path, {})


def test_write_replaces_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    (path.parent / ".file.0a0a0a0a.being-written").write_bytes(b"torn")
    remove_leftovers(tmp_path)
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_full_device_is_a_clear_error() -> None:
    device = Path("/dev/full")
    message = r"/dev/full cannot be written, no space left on device: free some space"
    with pytest.raises(DiskFull, match=message), storage_errors(device), device.open("wb", buffering=0) as file:
        file.write(b"x")


def test_no_space_keeps_what_was_there(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path)
    path = tmp_path / "run.json"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DiskFull, match=r"run\.json cannot be written.*free some space and run the same command again"):
            write_atomic(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "run.json"]
    assert artifact.rows() == ROWS


def test_a_place_that_is_not_ours_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"write paths\.root="):
        write_atomic(Path("/proc/nowhere/file") if os.geteuid() else Path("/sys/kernel/file"), b"x")


@pytest.mark.parametrize("name", ["base", "adapter", "model", "adapter-2", "model-3"])
def test_weights_of_every_round_lie_under_checkpoints(tmp_path: Path, name: str) -> None:
    assert Store(tmp_path).folder("explicit", name, "a" * 64).parts[-3:-1] == ("checkpoints", "explicit")
    assert Store(tmp_path).folder("explicit", f"eval-{name}", "a" * 64).parts[-3:-1] == ("store", "explicit")
