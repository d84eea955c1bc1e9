"""Builds that are killed, each at another of its steps, and given again: what came of it, as JSON. Run by test_resume.

A process of its own, since it forks: a build in a fork costs a few milliseconds, and in a new interpreter a second.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from augment import compiler, recipe
from augment.executors import executor
from augment.prepare import Request
from datasets.sources import Input

# Imported once, before any fork.
importlib.import_module("augment.pixel")

# What Python tells an audit hook of: whatever changes a file or a folder is among these.
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.scandir"}


class Steps:
    """Counts the steps of this process that name `folder`, and kills the process before one of them."""

    def __init__(self, folder: Path, kill_before: int | None) -> None:
        self.folder = os.fsencode(folder)
        self.kill_before = kill_before
        self.heard = 0
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in STEPS or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        path = os.fsencode(arguments[0])
        if path.startswith(self.folder):
            if self.heard == self.kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            self.heard += 1


def build(source: Input, output: Path) -> int:
    """Returns how many sources were kept from before."""
    with executor("serial") as run:
        return compiler.build(Request([source], recipe.load("expanded")), output, run, lambda *_: None).kept


def in_fork(source: Input, output: Path, kill_before: int | None) -> tuple[int, Any]:
    """Build in a fork; its exit code, negative for a signal, and what it reports: steps, and sources kept."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        steps = Steps(output.parent / f"{output.name}.partial", kill_before)
        kept = build(source, output)
        os.write(writing, json.dumps([steps.heard, kept]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        report = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(report) if report else None


def main(annotations: Path, images: Path, folder: Path, moments: int) -> None:
    source, output = Input(annotations, images), folder / "out"
    _, (steps, _) = in_fork(source, folder / "clean", None)
    sums = (folder / "clean" / "SHA256SUMS").read_bytes()
    outcomes = []
    for moment in range(moments):
        kill_before = round(moment * (steps - 1) / (moments - 1))
        killed, _ = in_fork(source, output, kill_before)
        # A complete folder, or none.
        whole = not output.exists() or (output / "SHA256SUMS").read_bytes() == sums
        ended, report = in_fork(source, output, None)
        left = sorted(path.name for path in folder.iterdir())
        same = (output / "SHA256SUMS").read_bytes() == sums
        outcomes.append([kill_before, killed, whole, ended, report[1], same, left])
        shutil.rmtree(output)
    sys.stdout.write(json.dumps({"steps": steps, "outcomes": outcomes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
