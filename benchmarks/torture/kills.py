"""Commands killed at random moments and repeated until they succeed: their outcome, to the byte."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import descendants, environment
from benchmarks.torture import forked, judging
from benchmarks.torture.forked import Outcome
from benchmarks.torture.judging import Offence, Tree

# A command that takes this many times its normal time hangs.
PATIENCE = 10.0
# Audit events of Python; every change of a file or folder is among them.
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.scandir"}
# Seconds within which processes must end whose parent was killed.
ORPHANS_SECONDS = 30.0

# What is killed: all its processes, the first one alone, or one of those that it has started.
VICTIMS = ("group", "first", "other")


class Target(NamedTuple):
    """A command to kill. `start` runs it in a folder, which is empty at first, and kills it as `Moment` says. `same` is
    what must be equal at the end, by name; `whole` returns what is wrong with the files after a kill.
    """

    name: str
    about: str
    start: Callable[[Path, Moment | None], Ended]
    same: Callable[[Path], Tree]
    whole: Callable[[Path, Tree], list[Offence]]
    victims: tuple[str, ...] = VICTIMS


class Moment(NamedTuple):
    """When to kill, as a share of the command's time or of its file steps; and which processes."""

    share: float
    victim: str
    by_step: bool


class Ended(NamedTuple):
    """How a command ended; `struck` is whether anything of it was killed, which it may have survived."""

    outcome: Outcome
    struck: bool

    @property
    def killed(self) -> bool:
        """Whether it ended because it was killed; it may also have reported that, and exited with an error."""
        return self.struck and self.outcome.code != 0


class Kill(NamedTuple):
    """What came of a run of the command: killed or not, in which chain of runs, after which moments; `struck` is how
    many kills there were so far."""

    struck: int
    chain: int
    moments: tuple[Moment, ...]
    ended: str
    command: tuple[str, ...]
    found: list[Offence]
    said: str


def torture(target: Target, kills: int, seed: int, work: Path, show: Callable[[Kill], None]) -> None:
    """Kill the command until `kills` of them have struck, and compare each chain's end with a run that nothing killed.

    A chain is the same command again and again in one folder, until it is done; its folder stays where something is
    wrong. `show` is called after each run. Raises RuntimeError where the command fails by itself.
    """
    draw = random.Random(f"{seed} {target.name}")
    clean = work / "clean"
    clean.mkdir()
    ended = target.start(clean, None)
    expected = target.same(clean)
    if ended.outcome.code or not expected:
        raise RuntimeError(f"{target.name} fails when nothing kills it:\n{ended.outcome.err[-2000:]}")
    struck = chain = 0
    while struck < kills:
        chain += 1
        folder = work / f"chain-{chain:04d}"
        folder.mkdir()
        moments: list[Moment] = []
        is_done = False
        while not is_done:
            moment = Moment(draw.random(), draw.choice(target.victims), draw.random() < 0.5)
            ended = target.start(folder, moment if struck < kills else None)
            if ended.struck:
                struck += 1
                moments.append(moment)
            found = _judge(target, folder, expected, ended)
            what = f"exit {ended.outcome.code}"
            if ended.struck:
                what = f"{'killed' if ended.killed else 'survived'}: {moment.victim}"
            outcome = ended.outcome
            show(Kill(struck, chain, tuple(moments), what, outcome.command, found, outcome.err))
            is_done = bool(found) or not (ended.killed or outcome.code)
        if not found:
            shutil.rmtree(folder)


def _judge(target: Target, folder: Path, expected: Tree, ended: Ended) -> list[Offence]:
    outcome = ended.outcome
    if outcome.late and not ended.killed:
        return [Offence("hang", f"did not end within {outcome.seconds:.0f} s")]
    if "Traceback (most recent call last)" in outcome.err:
        return [Offence("traceback", judging.last_frame(outcome.err))]
    if ended.killed:
        return target.whole(folder, expected)
    if outcome.code:
        return [Offence("cannot go on", f"exit code {outcome.code}: {outcome.err.strip()[-300:]}")]
    found = target.same(folder)
    different = [name for name in expected if found.get(name) != expected[name]]
    more = [name for name in found if name not in expected]
    return [
        *(Offence("different", name) for name in different[:1]),
        *(Offence("left behind", name) for name in more[:1]),
    ]


class Forks:
    """Starts a command in forks, which can be killed before any step that changes a file."""

    def __init__(self, command: Callable[[Path], tuple[str, ...]], watched: str) -> None:
        """Steps are counted whose path begins with `watched`, in the folder."""
        self._command = command
        self._watched = watched
        self._seconds, self._steps = 0.0, 0

    def __call__(self, folder: Path, moment: Moment | None) -> Ended:
        said = folder.with_name(f"{folder.name}-said")
        said.mkdir(exist_ok=True)
        steps = said / "steps"
        watched = os.fsencode(folder / self._watched)
        kill_before = int(moment.share * self._steps) if moment is not None and moment.by_step else None
        seconds = PATIENCE * max(self._seconds, 6.0)
        if moment is not None and not moment.by_step:
            seconds = moment.share * self._seconds
        outcome = forked.run(
            self._command(folder), said, seconds=seconds, prepare=lambda: _count_steps(watched, kill_before, steps)
        )
        if moment is None:
            self._seconds = max(self._seconds, outcome.seconds)
            self._steps = max(self._steps, steps.stat().st_size)
        shutil.rmtree(said)
        if moment is None or (moment.by_step and outcome.late):
            return Ended(outcome, struck=False)
        return Ended(outcome, outcome.code == -signal.SIGKILL)


def _count_steps(watched: bytes, kill_before: int | None, count: Path) -> None:
    """Write a byte to `count` for each step of this process on a watched path; kill the process before one of them."""
    heard = 0
    # Opened once, and not by this name again: the hook would hear itself.
    descriptor = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal heard
        if event not in STEPS or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        if os.fsencode(arguments[0]).startswith(watched):
            if heard == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            heard += 1
            os.write(descriptor, b".")

    sys.addaudithook(hear)


class Processes:
    """Starts a command as users do, in processes of its own."""

    def __init__(self, command: Callable[[Path], list[str]]) -> None:
        self._command = command
        self._seconds = 0.0

    def __call__(self, folder: Path, moment: Moment | None) -> Ended:
        said = folder.with_name(f"{folder.name}-said")
        command = self._command(folder)
        began = time.perf_counter()
        with said.open("w+b") as file:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            struck = late = False
            try:
                if moment is not None:
                    struck = _strike(process, moment, self._seconds)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE * max(self._seconds, 6.0))
                late = process.poll() is None
                left = [] if late else _orphans(process.pid)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.perf_counter() - began
        text = said.read_text(encoding="utf-8", errors="replace")
        said.unlink()
        if moment is None:
            self._seconds = max(self._seconds, seconds)
        if left:
            text += f"\nprocesses that outlive it: {left}"
            late = True
        outcome = Outcome(tuple(command), process.returncode, "", text, seconds, 0.0, late)
        return Ended(outcome, struck and not late)


def _strike(process: subprocess.Popen[bytes], moment: Moment, seconds: float) -> bool:
    """SIGKILL at the moment; whether there was anything left to kill."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment.share * seconds)
        return False
    victims = [process.pid]
    if moment.victim == "other":
        victims = [random.Random(moment.share).choice(_others(process.pid) or victims)]
    with contextlib.suppress(ProcessLookupError):
        if moment.victim == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(victims[0], signal.SIGKILL)
    return True


def _others(first: int) -> list[int]:
    """Processes that a command has started, except Python's resource tracker, whose loss is not the command's fault:
    its successor then prints a traceback that nothing can prevent.
    """
    found = []
    for number in sorted(descendants(first)):
        with contextlib.suppress(OSError):
            if b"resource_tracker" not in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(number)
    return found


def _orphans(group: int) -> list[str]:
    """The processes of a group that remain after enough time to notice that their parent is gone."""
    deadline = time.monotonic() + ORPHANS_SECONDS
    while (left := list(_members(group))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _members(group: int) -> Iterator[str]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(") ")
            state, _, number, *_ = rest.split()
            if int(number) == group and state != "Z":
                yield head
