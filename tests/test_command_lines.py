"""The four command lines are one family: shared options mean the same, help fits, and wrong names are answered."""

from __future__ import annotations

import importlib

import click
import pytest
from click.testing import CliRunner

from datasets import __version__

STAGES = ("augment", "datasets", "train", "ensemble")
GROUPS: dict[str, click.Group] = {stage: importlib.import_module(f"{stage}.__main__").main for stage in STAGES}
COMMANDS = {f"{stage} {name}": found for stage, group in GROUPS.items() for name, found in group.commands.items()}
# Options that mean something else in one command on purpose: --images of `fuse` is the same folder, and so on.
BY_COMMAND = {
    "--output",  # of what the command makes
    "--results",  # one file, or one a model
    "--recipe",  # of augment, of the ensemble
    "--seed",
    "--split",  # has a default of its own in each
    "--images",  # says what they are for
    "--annotations",  # one, or several
    "--categories",  # to train on; of results it is the former name of --category-ids
    "--category-ids",  # of one file, or of each
    "--masks",  # written, or compared
    "--max-dets",
    "--epoch",  # of one run, or of each
    "--json",
}


@pytest.mark.parametrize("stage", STAGES)
def test_the_version_is_the_project_s(stage: str) -> None:
    done = CliRunner().invoke(GROUPS[stage], ["--version"])
    assert (done.exit_code, done.output) == (0, f"scarcedet, version {__version__}\n")


@pytest.mark.parametrize("stage", STAGES)
def test_every_command_is_described_within_80_columns(stage: str) -> None:
    lines = CliRunner().invoke(GROUPS[stage], ["--help"], terminal_width=78).output.splitlines()
    for name, found in GROUPS[stage].commands.items():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.split(None, 1)[1] == found.short_help
        assert len(line) <= 80


def test_an_option_of_several_commands_is_one_option() -> None:
    seen: dict[str, tuple[str, object]] = {}
    for name, found in COMMANDS.items():
        for item in found.params:
            assert isinstance(item, (click.Option, click.Argument))
            if isinstance(item, click.Option) and item.opts[0] not in BY_COMMAND:
                said = (item.help, item.multiple, item.metavar, str(item.type))
                first, expected = seen.setdefault(item.opts[0], (name, said))
                assert said == expected, f"{item.opts[0]} of {name} and of {first}"


@pytest.mark.parametrize("name", COMMANDS)
def test_data_is_named_in_one_way(name: str) -> None:
    options = {option for item in COMMANDS[name].params for option in item.opts}
    if "--data" in options:
        assert {"--annotations", "--images", "--split"} <= options


def test_validation_never_reads_the_test_split_unasked() -> None:
    # Without a default, click has one of its own that says so.
    splits = {
        name: item.default if isinstance(item.default, str) else None
        for name, found in COMMANDS.items()
        for item in found.params
        if item.opts[0] == "--split"
    }
    assert splits == {
        "augment plan": None,
        "augment build": None,
        "datasets check": None,
        "datasets subset": "train",
        "datasets evaluate": "val",
        "train choose-size": "val",
        "train fit": "train",
        "train predict": "test",
        "ensemble fuse": "test",
        "ensemble tune": "val",
        "ensemble report": "val",
        "ensemble check": "test",
    }
