"""DataError, the exception that users read, its collector Problems, and text made safe for terminals."""

from __future__ import annotations

SHOWN = 20

# Characters that move a terminal's cursor, ring its bell or reverse its text; names in other people's files may contain
# them.
_CONTROLS = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def printable(text: str) -> str:
    """The text with control characters escaped; line breaks and tabs stay."""
    return text.translate(_CONTROLS)


class DataError(Exception):
    """Input that cannot be used, or an output that must not be written.

    The text is a headline, then the first 20 problems (each naming a file and a place, what was expected and what was
    found) and a count of the others, then advice, if there is any. Command lines print it and exit with 1.
    """

    def __init__(
        self, headline: str, problems: list[str] | None = None, count: int | None = None, advice: str = ""
    ) -> None:
        """`count` is the number of all problems, where not all of them were kept."""
        self.headline = headline
        self.problems = problems or []
        self.count = len(self.problems) if count is None else count
        self.advice = advice
        super().__init__(headline)

    def __str__(self) -> str:
        lines = [self.headline, *(f"  {problem}" for problem in self.problems[:SHOWN])]
        hidden = self.count - min(len(self.problems), SHOWN)
        if hidden > 0:
            lines.append(f"  ... and {hidden} more")
        if self.advice:
            lines.append(self.advice)
        return printable("\n".join(lines))

    def __reduce__(self) -> tuple[type[DataError], tuple[str, list[str], int, str]]:
        """Keep the problems when the error is pickled, from a worker process to its parent."""
        return DataError, (self.headline, self.problems, self.count, self.advice)


class Problems:
    """Collects problems in bounded memory, so that all offenders are reported at once."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.count = 0

    def add(self, problem: str) -> None:
        if len(self.kept) < SHOWN:
            self.kept.append(problem)
        self.count += 1

    def extend(self, other: Problems) -> None:
        self.kept = (self.kept + other.kept)[:SHOWN]
        self.count += other.count

    def raise_if_any(self, headline: str, advice: str = "") -> None:
        """Raise DataError with `headline` if there is any problem; the last `{n}` in it becomes their number."""
        if self.count:
            # Not str.format: a path in the headline may contain braces.
            before, counted, after = headline.rpartition("{n}")
            raise DataError(f"{before}{self.count}{after}" if counted else headline, self.kept, self.count, advice)
