"""What a torture found, as JSON for tools and as text for people."""

from __future__ import annotations

import msgspec

# Characters of a command's output that an offence keeps.
KEPT = 1500


class Example(msgspec.Struct, kw_only=True):
    """The first case of an offence: the mutant or kill, and the command's output."""

    case: str
    about: str
    command: str
    said: str


class Kind(msgspec.Struct, kw_only=True):
    """Offences of one cause, as far as that can be told."""

    signature: str
    count: int
    example: Example


class Part(msgspec.Struct, kw_only=True):
    """`done` of the cases or kills that were `asked` for; `outcomes` counts exit states by command."""

    name: str
    about: str
    asked: int
    done: int = 0
    seconds: float = 0.0
    outcomes: dict[str, dict[str, int]] = {}
    memory: float = 0.0
    """The largest resident memory of a command in MB, 0 where it was not looked at."""
    kinds: list[Kind] = []
    problem: str = ""

    def add(self, signature: str, example: Example) -> None:
        for kind in self.kinds:
            if kind.signature == signature:
                kind.count += 1
                return
        self.kinds.append(Kind(signature=signature, count=1, example=example))

    def count(self, command: str, ended: str) -> None:
        row = self.outcomes.setdefault(command, {})
        row[ended] = row.get(ended, 0) + 1


class Report(msgspec.Struct, kw_only=True):
    """The whole report. `seed` and the requested numbers determine what was tried."""

    seed: int
    machine: dict[str, str]
    parts: list[Part]

    @property
    def offences(self) -> int:
        return sum(kind.count for part in self.parts for kind in part.kinds) + sum(
            bool(part.problem) for part in self.parts
        )


def as_text(report: Report) -> str:
    lines = [f"{name + ':':<14} {value}" for name, value in [*report.machine.items(), ("seed", report.seed)]]
    for part in report.parts:
        memory = f", at most {part.memory:,.0f} MB" if part.memory else ""
        lines += [
            "",
            f"{part.name}: {part.about}",
            f"  {part.done:,} of {part.asked:,} in {part.seconds:,.0f} s{memory}",
        ]
        lines += [f"  {command:<20} {_counts(row)}" for command, row in part.outcomes.items()]
        lines += [f"  FAILED: {part.problem}"] if part.problem else []
        for kind in part.kinds:
            lines += [
                f"  OFFENCE {kind.count:,} x {kind.signature}",
                f"    case {kind.example.case}: {kind.example.about}",
            ]
            lines += [
                f"    $ {kind.example.command}",
                *(f"    | {line}" for line in kind.example.said.splitlines()[-12:]),
            ]
    return "\n".join([*lines, "", summary(report), ""])


def summary(report: Report) -> str:
    done = ", ".join(f"{part.name} {part.done:,}" for part in report.parts)
    return f"{report.offences:,} offences; {done}"


def _counts(row: dict[str, int]) -> str:
    return ", ".join(f"{ended} {count:,}" for ended, count in sorted(row.items()))
