"""What a GPU check found, as JSON for tools and as text for people."""

from __future__ import annotations

import msgspec

from benchmarks.gpu.records import Row


class PartResult(msgspec.Struct, kw_only=True):
    """The outcome of a part; `problem` is an error of the part as a whole."""

    name: str
    about: str
    state: str = "waiting"
    """waiting, running, done, failed, or not run (no time was left)."""
    seconds: float = 0.0
    problem: str = ""
    rows: list[Row] = []

    @property
    def failed(self) -> bool:
        return self.state == "failed" or any(row.ok is False for row in self.rows)


class Report(msgspec.Struct, kw_only=True):
    """The whole report: the machine (name -> value), and the parts in order."""

    machine: dict[str, str]
    minutes: float
    seconds: float = 0.0
    complete: bool = False
    parts: list[PartResult] = []

    @property
    def failed(self) -> bool:
        return any(part.failed for part in self.parts)


MARKS = {True: "ok", False: "FAILED", None: ""}


def as_text(report: Report) -> str:
    lines = [f"{name + ':':<14} {value}" for name, value in report.machine.items()]
    for part in report.parts:
        state = part.state if part.state != "done" else f"{part.seconds:.0f} s"
        lines += ["", f"{part.name} ({state}): {part.about}"]
        width = max((len(row.check) for row in part.rows), default=0)
        lines += [f"  {MARKS[row.ok]:<6} {row.check:<{width}}  {row.text}" for row in part.rows]
        if part.problem:
            lines += [f"  {MARKS[False]:<6} {line}" for line in part.problem.splitlines()[:1]]
            lines += [f"         {line}" for line in part.problem.splitlines()[1:]]
    return "\n".join([*lines, "", summary(report), ""])


def summary(report: Report) -> str:
    """The last line."""
    rows = [row for part in report.parts for row in part.rows]
    passed, failed = (sum(row.ok is ok for row in rows) for ok in (True, False))
    broken = [part.name for part in report.parts if part.state == "failed"]
    left = [part.name for part in report.parts if part.state in ("waiting", "running", "not run")]
    return (
        f"{passed} passed, {failed} failed"
        + (f"; ended badly: {', '.join(broken)}" if broken else "")
        + (f"; not run: {', '.join(left)}" if left else "")
        + f"; {report.seconds:.0f} s"
        + ("" if report.complete else " so far")
    )
