"""What the page says in sentences: whether fusion gained, and what the models have in common."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import percent
from datasets.comparison import RESAMPLES, Difference
from ensemble.report.measures import Measures

EXPLAINED = (
    "AP is COCO's average precision in percent, 100 is perfect: the mean precision over all recalls, of each category "
    "and each IoU threshold from 0.50 to 0.95. AP50 is that at IoU 0.50 alone."
)
INTERVALS = (
    f"An interval holds 95 % of what other images like these would give, by {RESAMPLES:,} resamples of the images. A "
    "difference is measured on the same resamples of both, so that images that are hard for both cancel out."
)


def title(measures: Measures) -> str:
    names = [item.name for item in measures.members]
    return f"Fusion of {joined(names)}" if len(names) < 4 else f"Fusion of {len(names)} models"


def joined(names: Sequence[str]) -> str:
    """`a, b and c`"""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def verdict(measures: Measures) -> str:
    """The first sentence: whether the fusion is better than the best single model."""
    return judgement([item.name for item in measures.members if item.weight > 0], measures.gain())


def judgement(fused: Sequence[str], gain: Difference | None) -> str:
    """`fused` are the models with a weight."""
    if len(fused) == 1:
        return f"Nothing is fused: {fused[0]} is the only model with a weight."
    if gain is None:
        return "Whether fusion gains cannot be told: it takes at least two images with objects."
    if not gain.excludes_zero:
        return "Whether fusion gains cannot be told from these images: the difference may be chance."
    return f"Fusion {'gains' if gain.difference > 0 else 'loses'}, and that is more than chance."


def comparison(measures: Measures) -> str:
    """Both APs, and their difference with its interval."""
    fused, best = measures.fused.evaluation.ap, measures.best
    text = (
        f"AP is {percent.precision(fused)} after fusion and {percent.precision(best.evaluation.ap)} of the best single "
        f"model, {best.name}"
    )
    gain = measures.gain()
    return f"{text}." if gain is None else f"{text}: a difference of {difference(gain)}."


def difference(gain: Difference) -> str:
    """`+1.5 (95 % interval: -1.2 to 5.8)`"""
    return f"{percent.difference(gain.difference)} (95 % interval: {gain.interval})"


def shared(by_how_many: Sequence[float]) -> str:
    """In words, the share of objects that all models, some and none of them find."""
    none, *some, every = by_how_many
    parts = [f"{percent.share(every)} of the objects are found by all models"]
    parts += [f"{percent.share(sum(some))} by some of them only"] if some else []
    return f"{', '.join(parts)}, {percent.share(none)} by none."
