"""What counts as an offence: every rule is broken once by a command that is planted, and by nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.torture import forked, judging
from benchmarks.torture.forked import Outcome
from benchmarks.torture.mutations import Trial

# A stage of its own: `planted MODE FILE OUTPUT`.
PLANTED = """
import os, sys, time
from pathlib import Path
import click
from datasets.errors import DataError

@click.command()
@click.argument("mode")
@click.argument("given", type=Path)
@click.argument("output", type=Path)
def main(mode, given, output):
    if mode == "good":
        output.write_text("whole")
    elif mode == "refused":
        raise DataError(f"{given}: expected something else")
    elif mode == "unnamed":
        raise DataError("expected something else")
    elif mode == "traceback":
        {}["key"]
    elif mode == "silent":
        sys.exit(1)
    elif mode == "code":
        sys.exit(3)
    elif mode == "crash":
        os.kill(os.getpid(), 9)
    elif mode == "hang":
        time.sleep(60)
    elif mode == "memory":
        output.write_bytes((b"x" * 1_100_000_000)[:1])
    elif mode == "half":
        output.write_text("ha")
        raise DataError(f"{given}: cannot be read")
    elif mode == "missing":
        pass
    elif mode == "stray":
        output.write_text("whole")
        output.with_name("other").touch()
    elif mode == "input":
        output.write_text("whole")
        given.write_text("mended")
    elif mode == "warning":
        output.write_text("whole")
        click.echo("fuse.py:3: RuntimeWarning: overflow encountered in multiply", err=True)
    elif mode == "control":
        click.echo(f"error: {given}: found \\x07", err=True)
        sys.exit(1)
    elif mode == "long":
        raise DataError(f"{given}: found {'x' * 30_000}")
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "stages" / "planted"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(package.parent)


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("mode", "rules"),
    [
        ("good", []),
        ("refused", []),
        ("unnamed", ["unnamed"]),
        ("traceback", ["traceback"]),
        ("silent", ["no message"]),
        ("code", ["exit code"]),
        ("crash", ["crash"]),
        ("hang", ["hang"]),
        ("memory", ["memory"]),
        ("half", ["half-written"]),
        ("missing", ["output missing"]),
        ("stray", ["left behind"]),
        ("input", ["input changed"]),
        ("warning", ["library's warning"]),
        ("control", ["control character"]),
        ("long", ["long message"]),
    ],
)
def test_each_rule_is_broken_by_what_breaks_it(
    mode: str, rules: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process has torch loaded, as no torture has.
    monkeypatch.setattr(judging, "MEMORY", 1000.0 if mode == "memory" else 10_000.0)
    folder = tmp_path / "case"
    folder.mkdir()
    given = folder / "broken.json"
    given.write_text("{}")
    trial = Trial("planted", folder, given.name, limit=0.5 if mode == "hang" else 30.0)

    done = trial.run("planted", mode, str(given), str(folder / "out"), outputs=("out",))

    assert [found.offence.rule for found in trial.found] == rules
    assert done == (trial.outcomes[0].code == 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case", "stages"]


@pytest.mark.usefixtures("planted")
def test_what_was_good_before_must_not_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MEMORY", 10_000.0)
    folder = tmp_path / "case"
    folder.mkdir()
    trial = Trial("planted", folder, "broken.json")
    assert not trial.run("planted", "refused", str(folder / "broken.json"), str(folder / "out"), expect=True)
    assert [found.offence.rule for found in trial.found] == ["disagreement"]


def outcome(code: int, err: str) -> Outcome:
    return Outcome(("augment", "build"), code, "", err, 1.0, 100.0)


def test_a_build_may_keep_what_is_finished_where_it_says_so() -> None:
    said = "error: a.jpg is cut short\n3 source images are rendered and kept in /data/out.partial; leave it out\n"
    after = {"out.partial": "folder", "out.partial/journal": "0a"}
    assert judging.of_files(outcome(1, said), {}, after, ["out"]) == []
    (found,) = judging.of_files(outcome(1, "error: a.jpg is cut short\n"), {}, after, ["out"])
    assert found.rule == "left behind"


def test_offences_of_one_cause_have_one_signature() -> None:
    def signature(text: str) -> str:
        return judging.signature("datasets check", judging.Offence("unnamed", text))

    assert signature("error: /a/b.json: 3 problems") == signature("error: /c/d.json: 12 problems")
    assert signature("error: 3 problems") != signature("error: 3 warnings")


def test_a_traceback_is_told_by_where_it_ends() -> None:
    said = (
        'Traceback (most recent call last):\n  File "/x/a.py", line 3, in main\n    run()\n'
        "  File \"/x/b.py\", line 14, in run\n    table[key]\nKeyError: 'width'\n"
    )
    assert judging.last_frame(said) == "b.py:14 run: KeyError"


def test_the_tree_of_a_folder_opens_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "sub").mkdir()
    assert judging.tree(tmp_path) == {"pipe": "pipe", "link": "link to nowhere", "sub": "folder"}


def test_a_command_runs_as_in_a_process_of_its_own(tmp_path: Path) -> None:
    ended = forked.run(("datasets", "check", "--annotations", "none.json"), tmp_path)
    assert (ended.code, ended.out, ended.late) == (2, "", False)
    assert "Usage: python -m datasets check" in ended.err
