"""DataError and Problems: what a user reads when input is bad."""

from __future__ import annotations

import pickle

import pytest

from datasets.errors import SHOWN, DataError, Problems, printable


def numbered(count: int) -> list[str]:
    return [f"$.images[{index}]: expected, found" for index in range(count)]


def collected(count: int) -> Problems:
    problems = Problems()
    for problem in numbered(count):
        problems.add(problem)
    return problems


def test_a_headline_alone_is_the_whole_text() -> None:
    assert str(DataError("a.json: not valid JSON")) == "a.json: not valid JSON"


def test_problems_stand_below_the_headline_one_a_line() -> None:
    assert str(DataError("headline", ["one", "two"])) == "headline\n  one\n  two"


@pytest.mark.parametrize(("count", "last"), [(20, "  $.images[19]: expected, found"), (21, "  ... and 1 more")])
def test_twenty_problems_are_shown_and_the_others_counted(count: int, last: str) -> None:
    lines = str(DataError("headline", numbered(count))).splitlines()

    assert lines[1:21] == [f"  {problem}" for problem in numbered(20)]
    assert lines[-1] == last
    assert len(lines) == min(count, 21) + 1


def test_problems_that_were_not_kept_are_counted_too() -> None:
    assert str(DataError("headline", ["one"], count=5)).endswith(f"... and {5 - 1} more")


def test_collecting_keeps_twenty_and_counts_all() -> None:
    problems = collected(1000)

    assert problems.kept == numbered(SHOWN)
    assert problems.count == 1000


def test_extending_keeps_the_first_twenty_and_adds_the_counts() -> None:
    problems, others = collected(15), collected(30)

    problems.extend(others)

    assert problems.kept == numbered(15) + numbered(20 - 15)
    assert problems.count == 15 + 30


def test_nothing_is_raised_without_problems() -> None:
    Problems().raise_if_any("{n} problem(s)")


def test_the_headline_tells_the_count() -> None:
    with pytest.raises(DataError) as caught:
        collected(25).raise_if_any("a.json: {n} problem(s)")

    assert str(caught.value).splitlines()[0] == "a.json: 25 problem(s)"
    assert str(caught.value).splitlines()[-1] == f"  ... and {25 - 20} more"


@pytest.mark.parametrize("path", ["{a}.json", "{n}.json", "{}.json", "{0}.json", "{.json", "a}.json"])
def test_braces_in_a_path_are_only_text(path: str) -> None:
    with pytest.raises(DataError) as caught:
        collected(1).raise_if_any(f"{path}: {{n}} problem(s)")

    assert caught.value.headline == f"{path}: 1 problem(s)"


def test_an_error_crosses_processes_whole() -> None:
    error = DataError("headline", numbered(20), count=45)

    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error)
    assert (copy.headline, copy.problems, copy.count) == ("headline", numbered(20), 45)


def test_advice_comes_last_and_crosses_processes() -> None:
    error = DataError("headline", numbered(20), count=45, advice="go on like this")

    assert str(error).splitlines()[-2:] == [f"  ... and {45 - 20} more", "go on like this"]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_names_from_files_do_not_command_the_terminal() -> None:
    """ESC [ 2 J clears it, BEL rings it, U+202E writes from right to left, CSI (0x9b) begins a command too."""
    said = str(DataError("headline", ["found 'a\x1b[2J\x07b\x9b1m\u202egpj.exe'"]))
    assert said == "headline\n  found 'a\\x1b[2J\\x07b\\x9b1m\\u202egpj.exe'"
    assert printable("größe\t猫\n") == "größe\t猫\n"
