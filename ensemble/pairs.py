"""Pairwise agreement of models, and the likely causes where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from datasets import percent, plausibility
from datasets.plausibility import ENOUGH, HARDLY_MEETS, SAME_WELL, Agreement
from datasets.results import Results

# Boxes of an image that the best boxes of another model are compared with.
HELD_AGAINST = 100
# Two confident models (mean score of their best boxes) that agree on less than this share saw different images.
OTHER_PICTURES, SURE = 0.03, 0.2


class Verdict(NamedTuple):
    """Why two models disagree; `blamed` is the index of the wrong one, None where it may be either."""

    first: int
    second: int
    blamed: int | None
    what: str

    def speaks_against(self, at: int) -> bool:
        return self.blamed == at or (self.blamed is None and at in (self.first, self.second))


class Pairs:
    """The agreement of every model's best boxes with those of every other model."""

    def __init__(self, models: Sequence[Results]) -> None:
        self._count = len(models)
        self._detections = [len(model) for model in models]
        several = len(models) > 1
        every = np.concatenate([np.empty(0, dtype=np.int64), *(model.image_ids for model in models if several)])
        image_ids_compared = plausibility.compared_images(every)
        self._best = [
            plausibility.best_boxes(model, image_ids_compared, plausibility.BEST) for model in models if several
        ]
        self._all = [plausibility.best_boxes(model, image_ids_compared, HELD_AGAINST) for model in models if several]
        self._found: dict[tuple[int, int], Agreement] = {
            (at, other): plausibility.agreement(self._best[at], self._all[other])
            for at, other in permutations(range(len(self._best)), 2)
        }

    def met(self, at: int) -> float | None:
        """The share of a model's best boxes that overlap another's, maximum over the others; None without another."""
        best = self._best_other(at)
        return None if best is None else best.met

    def same(self, at: int) -> float | None:
        """Of those, the share that have the same category."""
        best = self._best_other(at)
        return best.same if best is not None and len(best.own) else None

    def _best_other(self, at: int) -> Agreement | None:
        others = [agreement for (own, _), agreement in self._found.items() if own == at and agreement.compared]
        return max(others, key=lambda agreement: agreement.met, default=None)

    def problems(self, names: Sequence[str], category_ids: Sequence[int], *, leave_out: set[int]) -> list[str]:
        """Errors: one for each model that contradicts most of the others, and one for each remaining pair."""
        verdicts = [
            verdict
            for pair in combinations([at for at in range(self._count) if at not in leave_out], 2)
            if (verdict := self._verdict(*pair, category_ids)) is not None
        ]
        against = {
            at: [item for item in verdicts if at in item[:2] and item.blamed in (None, at)] for at in range(self._count)
        }
        others = self._count - len(leave_out) - 1
        outvoted = {at for at, items in against.items() if others > 1 and 2 * len(items) > others}
        blamed = outvoted | {item.blamed for item in verdicts if item.blamed is not None}
        texts = []
        for at in sorted(blamed):
            verdict = against[at][0]
            other = verdict.second if verdict.first == at else verdict.first
            texts.append(f"{names[at]}: {self._figures(at, other)} of {names[other]}; {verdict.what}")
        for item in verdicts:
            if not blamed & {item.first, item.second}:
                figures = self._figures(item.first, item.second)
                texts.append(f"{names[item.first]}: {figures} of {names[item.second]}; {item.what}, or the other's do")
        return texts

    def _figures(self, at: int, other: int) -> str:
        agreement = self._found[at, other]
        same = f"{percent.share(agreement.same)} of these with the same category"
        return f"{percent.share(agreement.met)} of its boxes, {same}, meet boxes"

    def _verdict(self, first: int, second: int, category_ids: Sequence[int]) -> Verdict | None:
        ways = ((first, second), (second, first))
        if min(self._found[way].compared for way in ways) < ENOUGH:
            return None
        formats = [plausibility.format_by_agreement(self._best[at], self._all[other]) for at, other in ways]
        if any(formats):
            blamed = None if all(formats) else ways[0 if formats[0] else 1][0]
            return Verdict(first, second, blamed, f"they look like {formats[0] or formats[1]}")
        numberings = [plausibility.numbering_by_agreement(self._found[way], category_ids) for way in ways]
        if any(numberings):
            positions = [numbering.startswith("positions") for numbering in numberings]
            blamed = ways[positions.index(True)][0] if sum(positions) == 1 else None
            numbering = numberings[positions.index(True)] if any(positions) else numberings[0] or numberings[1]
            # From the other model's side, the shift has the opposite sign.
            what = numbering if blamed is not None else numbering.partition(" (too")[0]
            return Verdict(first, second, blamed, f"its category ids look {plausibility.look(what)}")
        met = max(self._found[way].met for way in ways)
        sure = min(float(self._best[at].scores.mean()) for at in (first, second)) >= SURE
        if met < OTHER_PICTURES and sure:
            return Verdict(first, second, None, "they look like those of other images")
        return None

    def notes(self, names: Sequence[str]) -> list[str]:
        """Notes on disagreements that are no error."""
        notes = []
        for at, other in combinations(range(self._count), 2):
            agreement = self._found[at, other]
            both = f"{names[at]} and {names[other]}"
            if not agreement.compared and self._detections[at] and self._detections[other]:
                notes.append(f"{both}: no image in common")
            elif agreement.compared >= ENOUGH and agreement.met < HARDLY_MEETS:
                notes.append(f"{both}: hardly any boxes meet ({percent.share(agreement.met)})")
            elif len(agreement.own) >= ENOUGH and agreement.same < SAME_WELL:
                notes.append(f"{both}: of the boxes that meet, {percent.share(agreement.same)} have the same category")
        return notes
