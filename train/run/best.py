"""The best epoch of a run."""

from __future__ import annotations

from typing import NamedTuple

from datasets import percent
from datasets.evaluation import Interval
from datasets.seen import seen_note


class Best(NamedTuple):
    """The epoch with the highest AP so far, a fraction; -1 before the first. Measured on `images` images, `seen` of
    which were trained on; its 95 % interval is `low` to `high`, -1 where earlier versions measured it.
    """

    epoch: int = 0
    ap: float = -1.0
    seen: int = 0
    images: int = 0
    low: float = -1.0
    high: float = -1.0

    @property
    def text(self) -> str:
        """`52.1 (49.0 to 55.2: 95 % over 87 images)`."""
        ap = percent.precision(self.ap)
        return ap if self.low < 0 else f"{ap} ({Interval(self.low, self.high)}: 95 % over {self.images:,} images)"

    def scalars(self) -> dict[str, float]:
        """For the metrics, in percent; nothing before the first epoch."""
        if not self.epoch:
            return {}
        aps = {"best/ap": self.ap} | ({"best/ap_low": self.low, "best/ap_high": self.high} if self.low >= 0 else {})
        return {"best/epoch": self.epoch, **{key: 100 * value for key, value in aps.items()}}

    @property
    def note(self) -> str:
        """The note on the AP, if it was measured on training images."""
        return seen_note(self.seen, self.images)
