"""Footnotes of the table: data, measurement, environments, and what must not be compared. Pure functions."""

from __future__ import annotations

from typing import Any, NamedTuple

from scripts.experiments import made_with
from scripts.experiments.made_with import MadeWith


class About(NamedTuple):
    """What the footnotes are about.

    `iterations` are those of the rungs that train, `on_test` the paper's AP of rungs that it measured on test, `raw`
    the rungs with raw predictions.
    """

    data: str
    train_images: int
    val_images: int
    settings: str
    settings_about: str
    seeds: list[int]
    iterations: dict[str, int]
    batch: int
    on_test: dict[str, float]
    raw: list[str]
    made_with: MadeWith
    command: str

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), **self.made_with._asdict()}


def notes(about: About) -> list[str]:
    """Lines of Markdown."""
    lines = [
        f"Data: {about.data}, trained on the split `train` ({about.train_images:,} images) or what `augment` "
        f"made of it, measured on `val` ({about.val_images:,} images); where a training has seen some of these, or "
        "nobody knows, that stands next to the AP. The paper's AP is that of its own data.",
        f"Settings: {about.settings} ({about.settings_about}). Iterations: {_iterations(about.iterations)}; "
        f"batch {about.batch}.",
        f"Seeds: {', '.join(map(str, about.seeds))}. `12.3 ± 0.4` is mean and sample standard deviation over the "
        "seeds; changes are against the rung above, taken seed by seed.",
        "Time a seed: that of the training's steps (metrics.json: median of 20 steps times their number), without its "
        "start and its checkpoints; where nothing is trained, that of predicting and fusing.",
    ]
    if about.on_test:
        aps = " and ".join(f"{ap:.1f} ({name})" for name, ap in about.on_test.items())
        lines.append(
            f"The paper's {aps} are not comparable even on its own data: it trained them on train + val, expanded to "
            "64,914 images (section 3.B.3), and measured them on test; here they are trained on train alone, of which "
            "the paper's data gives 6 x 5,873 = 35,238, and measured on val."
        )
    if about.raw:
        lines.append(
            f"{', '.join(about.raw)}: raw predictions have scores from 0.001 instead of 0.05, pass NMS at an IoU of "
            "0.9 instead of 0.5, and are 300 an image instead of 100. What that gains alone counts as the gain of "
            f"{about.raw[0]}."
        )
    return [*lines, *made_with.notes(about.made_with, about.command)]


def _iterations(found: dict[str, int]) -> str:
    """`90,000 for bn, gn; 227,199 for deeper`."""
    if len(set(found.values())) == 1:
        return f"{next(iter(found.values())):,} for every rung"
    names = {count: [name for name, other in found.items() if other == count] for count in found.values()}
    return "; ".join(f"{count:,} for {', '.join(those)}" for count, those in names.items())
