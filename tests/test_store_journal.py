"""The journal: what counts as committed after any tear."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cai_bootstrap.store.files import write_atomic
from cai_bootstrap.store.journal import Journal, JournalEntry


def commit(journal: Journal, shard: int, data: bytes) -> JournalEntry:
    write_atomic(journal.folder / "shards" / f"{shard}.jsonl", data)
    entry = JournalEntry(shard, f"shards/{shard}.jsonl", hashlib.sha256(data).hexdigest(), 1)
    journal.append(entry)
    return entry


def content(shard: int) -> bytes:
    return b'{"shard": %d}\n' % shard


def test_committed_shards_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.read() == {}
    entries = {shard: commit(journal, shard, content(shard)) for shard in (0, 2, 1)}
    assert journal.read() == entries
    assert list(journal.read()) == [0, 1, 2]


def test_torn_at_every_byte(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entries = {shard: commit(journal, shard, content(shard)) for shard in range(3)}
    whole = journal.path.read_bytes()
    for length in range(len(whole)):
        journal.path.write_bytes(whole[:length])
        num_whole = whole[:length].count(b"\n")
        kept = {shard: entry for shard, entry in entries.items() if shard < num_whole}
        assert journal.read() == kept
        # What is appended after the tear must not be torn with it.
        if length % 7 == 0:
            journal.append(entries[2])
            assert journal.read() == kept | {2: entries[2]}


def test_a_long_journal_is_mended_at_its_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entries = {shard: commit(journal, shard, content(shard)) for shard in range(80)}
    whole = journal.path.read_bytes()
    for torn in (b"", b"{", b"x" * 5000, b"x" * 4096, b"x" * 9000):
        journal.path.write_bytes(whole + torn)
        journal.append(entries[79])
        assert journal.path.read_bytes() == whole + whole[whole[:-1].rfind(b"\n") + 1 :]


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_damaged_journal_never_yields_a_wrong_shard(three_shards: Path, position: int, bit: int) -> None:
    journal = Journal(three_shards)
    data = bytearray((three_shards / "sound").read_bytes())
    data[position % len(data)] ^= 1 << bit
    journal.path.write_bytes(data)
    for shard, entry in journal.read().items():
        assert journal.content(entry) == content(shard)


@pytest.fixture(scope="module")
def three_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three committed shards and a copy of its journal."""
    journal = Journal(tmp_path_factory.mktemp("journal"))
    for shard in range(3):
        commit(journal, shard, content(shard))
    (journal.folder / "sound").write_bytes(journal.path.read_bytes())
    return journal.folder


def test_a_shard_without_its_file_or_with_another_content_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for shard in range(3):
        commit(journal, shard, content(shard))
    (tmp_path / "shards" / "0.jsonl").unlink()
    (tmp_path / "shards" / "1.jsonl").write_bytes(content(7))
    assert list(journal.read()) == [2]
    again = commit(journal, 1, content(1))
    assert journal.read()[1] == again


def test_a_journal_line_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_bytes(content(0))
    folder = tmp_path / "partial"
    folder.mkdir()
    journal = Journal(folder)
    journal.append(JournalEntry(0, "../0.jsonl", hashlib.sha256(content(0)).hexdigest(), 1))
    assert journal.read() == {}
