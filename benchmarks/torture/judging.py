"""The rules for a command on a mutated file: refuse it in words, or make something complete of it. Nothing else."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.torture.forked import Outcome

# Resident memory in MB that a command may take.
MEMORY = 1000.0
# Characters of a message that a person would still read.
LONGEST = 20_000

# Kind of a file: "folder", "link to X", "pipe", or the SHA-256 of its bytes.
Tree = dict[str, str]


class Offence(NamedTuple):
    """A rule that was broken, in a word or two, and how."""

    rule: str
    text: str


def of_outcome(outcome: Outcome, named: Sequence[str]) -> list[Offence]:
    """The offences in how a command ended; its error must contain one of `named`: the file that it was given."""
    said = outcome.out + outcome.err
    if outcome.late:
        return [Offence("hang", f"did not end within {outcome.seconds:.0f} s")]
    found = []
    if "Traceback (most recent call last)" in said:
        found.append(Offence("traceback", last_frame(said)))
    elif outcome.code < 0:
        found.append(Offence("crash", f"ended by signal {-outcome.code}"))
    elif outcome.code not in (0, 1):
        found.append(Offence("exit code", f"expected 0 or 1, found {outcome.code}"))
    elif outcome.code and not re.search(r"^error: \S", outcome.err, re.MULTILINE):
        found.append(Offence("no message", f"exit code 1, and no error on stderr: {outcome.err[:200]!r}"))
    elif outcome.code and not any(name in outcome.err for name in named):
        found.append(Offence("unnamed", f"the error does not name {named[0]}: {_first_line(outcome.err)}"))
    if outcome.memory > MEMORY:
        found.append(Offence("memory", f"{outcome.memory:,.0f} MB"))
    if warning := re.search(r"^.*\b[A-Z]\w*Warning: .*$", said, re.MULTILINE):
        found.append(Offence("library's warning", warning[0][:200]))
    if len(outcome.err) > LONGEST:
        found.append(Offence("long message", f"{len(outcome.err):,} characters"))
    if control := re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x9b]", outcome.err):
        found.append(Offence("control character", f"{control[0]!r} is sent to the terminal"))
    return found


def of_files(outcome: Outcome, before: Tree, after: Tree, outputs: list[str]) -> list[Offence]:
    """What is wrong with the files of a folder that a command has left; `outputs` are those it was to write."""
    made = [path for path in after if path not in before]
    changed = [path for path in before if after.get(path) != before[path]]
    found = [Offence("input changed", path) for path in changed[:1]]
    wanted = [path for path in made if any(path == name or path.startswith(f"{name}/") for name in outputs)]
    stray = [path for path in made if path not in wanted]
    if outcome.code == 0:
        found += [Offence("output missing", name) for name in outputs[:1] if name not in after]
    else:
        found += [Offence("half-written", path) for path in wanted[:1]]
        # A build that was refused midway keeps rendered sources, and says where.
        stray = [path for path in stray if not _is_kept(path, outcome)]
    return [*found, *(Offence("left behind", path) for path in stray[:1])]


def _is_kept(path: str, outcome: Outcome) -> bool:
    folder = path.split("/")[0]
    return outcome.code == 1 and folder.endswith(".partial") and f"{folder};" in outcome.err


def tree(folder: Path) -> Tree:
    """Everything below a folder; only regular files are opened."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(mode):
            what = f"link to {path.readlink()}"
        else:
            what = "folder" if stat.S_ISDIR(mode) else "pipe"
        found[path.relative_to(folder).as_posix()] = what
    return found


def signature(stage: str, offence: Offence) -> str:
    """What is the same for offences of one cause: numbers and names of files tell cases apart, not causes."""
    text = offence.text
    if offence.rule != "traceback":
        text = re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|-?\d[\d,.e+-]*", "#", text)
    return f"{stage}: {offence.rule}: {text[:120]}"


def last_frame(text: str) -> str:
    """The last frame of a traceback, and the exception."""
    frames = list(re.finditer(r'^ *File "([^"]+)", line (\d+), in (\S+)$', text, re.MULTILINE))
    if not frames:
        return "?"
    file, line, name = frames[-1].groups()
    # Source lines below a frame are indented; the exception is not.
    raised = re.search(r"^[\w.]+", text[frames[-1].end() :], re.MULTILINE)
    return f"{Path(file).name}:{line} {name}: {raised[0] if raised else '?'}"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else ""
