"""Size limit of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from datasets.errors import DataError

MB = 10**6
SHOWN = 8


class Budget(NamedTuple):
    """At most `limit` bytes, None for no limit; `fixed` (bytes of each part by name) are already used."""

    limit: int | None
    fixed: Mapping[str, int]

    def check(self, wheels: Mapping[str, int]) -> None:
        """Raise DataError where the parts and these wheels (bytes by name) exceed the limit."""
        parts = {**self.fixed, **wheels}
        total = sum(parts.values())
        if self.limit is None or total <= self.limit:
            return
        largest = sorted(parts.items(), key=lambda part: (-part[1], part[0]))[:SHOWN]
        raise DataError(
            f"the bundle would have at least {megabytes(total)}, expected {megabytes(self.limit)} at most (--max-mb)",
            [f"{megabytes(size)}  {name}" for name, size in largest],
            advice="Take the smallest versions that fit (--smallest), name more of what that machine has (--have), "
            "leave a dataset out, or allow more (--max-mb).",
        )


def megabytes(size: int) -> str:
    return f"{size / MB:.1f} MB"
