"""The policy of reading an annotation file: what is repaired, left out or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from datasets.checks import UNUSABLE, Leniency, Repairs
from datasets.errors import Problems
from datasets.parsing import LeftOut, Mend
from datasets.respell import Respelled


class Mending:
    """Repairs and problems of one file. Under `leniency.skip_bad`, problems of single annotations count as repairs."""

    def __init__(self, leniency: Leniency) -> None:
        self.leniency = leniency
        self.repairs = Repairs()
        self.problems = Problems()

    def by(self, respell: Callable[[dict[str, Any]], Respelled]) -> Mend:
        """A `mend` function for `parse_records`: respells a record in COCO's form and counts what was changed."""

        def mend(raw: msgspec.Raw, kind: type[Any], json_path: str) -> Any:
            try:
                # Not msgspec, which refuses numbers too large for a float; here they become infinite.
                plain = json.loads(bytes(raw))
            except (ValueError, RecursionError):
                return None
            if not isinstance(plain, dict):
                return None
            respelled = respell(plain)
            if respelled.record is None:
                self._count(respelled, json_path)
                return LeftOut()
            try:
                record = msgspec.convert(respelled.record, kind)
            except msgspec.ValidationError as error:
                return error
            self._count(respelled, json_path)
            return record

        return mend

    def _count(self, respelled: Respelled, json_path: str) -> None:
        for kind in respelled.kinds:
            self.repairs.add(kind, json_path)

    def annotation_problems(self) -> Problems:
        """Where problems of annotations that do not parse go, each with its place."""
        return _AsRepairs(self.repairs) if self.leniency.skip_bad else self.problems

    def take(self, json_path: str, problems: Problems) -> None:
        """Take the problems of one annotation, which count as one where it is left out."""
        if self.leniency.skip_bad:
            said = "; ".join(problem.removeprefix(json_path) for problem in problems.kept)
            self.repairs.add(UNUSABLE, f"{json_path}{said}")
        else:
            self.problems.extend(problems)


class _AsRepairs(Problems):
    def __init__(self, repairs: Repairs) -> None:
        super().__init__()
        self._repairs = repairs

    def add(self, problem: str) -> None:
        self._repairs.add(UNUSABLE, problem)
