"""The journal: what was added comes back, as far as it is whole and fits the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.compiler.journal import Journal, JournalEntry

ENTRIES = [JournalEntry(f"{n:064x}", tuple(f"{n:032x}{m:032x}" for m in range(n))) for n in (3, 0, 2)]
# First image id and number of images of each.
PLANNED = [(1, 3), (4, 0), (4, 2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of three sources."""
    with Journal(tmp_path / "journal") as journal:
        for (first_id, _), entry in zip(PLANNED, ENTRIES, strict=True):
            journal.add(first_id, entry)
    return tmp_path / "journal"


def read(path: Path, planned: list[tuple[int, int]] = PLANNED) -> list[JournalEntry]:
    with Journal(path) as journal:
        return list(journal.entries(planned))


def test_what_was_added_comes_back(path: Path) -> None:
    assert read(path) == ENTRIES
    assert read(path, PLANNED[:2]) == ENTRIES[:2]
    assert read(path, [*PLANNED, (6, 1)]) == ENTRIES


def test_an_entry_is_in_the_file_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.add(1, ENTRIES[0])
        assert read(tmp_path / "journal") == ENTRIES[:1]


@pytest.mark.parametrize("planned", [[(1, 3), (4, 0), (5, 2)], [(1, 3), (4, 0), (4, 3)], [(1, 3), (4, 0), (4, 1)]])
def test_what_does_not_fit_the_plan_does_not_count(path: Path, planned: list[tuple[int, int]]) -> None:
    assert read(path, planned) == ENTRIES[:2]


def test_the_journal_goes_on_behind_what_is_kept(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"6 torn")
    with Journal(path) as journal:
        assert list(journal.entries(PLANNED)) == ENTRIES
        journal.keep(1)
        journal.add(4, ENTRIES[1])
    assert read(path) == ENTRIES[:2]


@given(st.data())
def test_damage_costs_what_stands_behind_it_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    with Journal(path) as journal:
        for (first_id, _), entry in zip(PLANNED, ENTRIES, strict=True):
            journal.add(first_id, entry)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    whole = content[:place].count(b"\n")
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 0x80
    path.write_bytes(content)
    assert read(path) == ENTRIES[:whole]


def test_an_entry_of_any_length_is_read_back(tmp_path: Path) -> None:
    """Twenty thousand tiles of one image, and the next source behind them."""
    entries = [JournalEntry("a" * 64, ("b" * 64,) * 20_000, "c" * 64), JournalEntry("d" * 64, ("e" * 64,))]
    with Journal(tmp_path / "journal") as journal:
        journal.add(1, entries[0])
        journal.add(20_001, entries[1])
        assert list(journal.entries([(1, 20_000), (20_001, 1)])) == entries
        journal.keep(1)
        assert list(journal.entries([(1, 20_000), (20_001, 1)])) == entries[:1]
