"""What came of a run, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import percent
from train.page.measured import Measured
from train.page.runs import Run, Validation
from train.run.schedule import duration

# Validations that tell a trend, compared with as many before them.
RECENT = 3
# Differences of AP between epochs, as fractions, up to which it counts as level, and a share of the loss.
LEVEL, FALL = 0.005, 0.05


class Sentence(NamedTuple):
    """A finding in a word or two, and what it means."""

    finding: str
    text: str


def trained(run: Run) -> str:
    """Which model, on what, how long."""
    done = run.iterations
    origin = "from scratch" if run.from_scratch else "not from scratch (see its lineage)"
    online = run.data.get("online")
    drawn = f", drawn anew in each epoch by the recipe {online.get('name', '-')}" if isinstance(online, dict) else ""
    return (
        f"{Path(run.model).name}, trained {origin} on {run.data.get('images', '-')} images of "
        f"{run.data.get('annotations', 'a dataset')} with {len(run.categories)} categories{drawn}: {done:,} "
        f"iterations, {run.epochs(done):.3g} epochs, in {duration(run.metrics.seconds)}, validations not counted."
    )


def measured_ap(of: Measured) -> str:
    """`AP 54.9 (51.9 to 57.7 in 95 % of cases) on 87 images`."""
    interval = f" ({of.interval} in 95 % of cases)" if of.interval else ""
    return f"AP {percent.precision(of.evaluation.ap)}{interval} on {len(of.truth.images):,} images"


def best(run: Run, of: Measured | None) -> str:
    """The best AP, with its interval and epoch."""
    if run.best is not None:
        interval = f" On other images like these it would be {run.interval} in 95 % of cases." if run.interval else ""
        return f"The best AP is {percent.precision(run.best.ap)}, in epoch {run.best.epoch}.{interval}"
    if of is not None:
        return f"Its detections have {measured_ap(of)}."
    return "It was not validated while it was trained, so that no AP is known."


def seen(run: Run, of: Measured | None) -> str:
    """What is to be said where images were trained on, or may have been; nothing where they were not."""
    if of is not None and of.files.epoch is None:
        count, doubt = len(of.provenance.seen), of.provenance.doubt
    else:
        count, doubt = int(run.metrics.last("bbox/images_seen_in_training") or 0), ""
    if count:
        return f"{count:,} of the validation images were trained on: AP says little about new images."
    return f"Whether these images were trained on is not known ({doubt})." if doubt else ""


def findings(run: Run) -> list[Sentence]:
    """What the curves tell; nothing of a run that was not validated."""
    losses = [(run.epochs(done), value) for done, value in run.metrics.points("total_loss")]
    return [trend(run.validations), overfitting(run.validations, losses)] if run.validations else []


def trend(validations: Sequence[Validation]) -> Sentence:
    """Whether AP still rises: the last validations, against as many before them."""
    recent = min(RECENT, len(validations) // 2)
    if not recent:
        return Sentence("One validation only", "Two or more tell whether AP still rises.")
    aps = [item.ap for item in validations]
    change = max(aps[-recent:]) - max(aps[-2 * recent : -recent])
    told = (
        f"The best of the last {recent} validations has {percent.difference(change)} AP to the {recent} before"
        if recent > 1
        else f"The last validation has {percent.difference(change)} AP to the one before"
    )
    if change > LEVEL:
        return Sentence("Still rising", f"{told}: a longer run (SOLVER.EPOCHS) may help.")
    if change < -LEVEL:
        return Sentence("Falling", f"{told}: fewer epochs would have done.")
    return Sentence("Level", f"{told}: more epochs like the last ones would change little.")


def overfitting(validations: Sequence[Validation], losses: Sequence[tuple[float, float]]) -> Sentence:
    """Whether the loss went on falling after the best epoch while AP fell; `losses` are (epoch, total loss)."""
    if len(validations) < 2 or len(losses) < 2:
        return Sentence("Overfitting is not known", "It shows in validations of several epochs.")
    top, last = max(validations, key=lambda item: item.ap), validations[-1]
    then = min(losses, key=lambda item: abs(item[0] - top.epochs))[1]
    now = losses[-1][1]
    if top.ap - last.ap <= LEVEL:
        return Sentence("No overfitting seen", "AP has not fallen while the loss of the training images fell.")
    fall = f"Since epoch {top.epoch} AP fell from {percent.precision(top.ap)} to {percent.precision(last.ap)}"
    if now < (1 - FALL) * then:
        return Sentence(
            "It overfits",
            f"{fall}, while the loss of the training images went on falling, from {then:.3g} to {now:.3g}: it learns "
            "these by heart. More variants (--online scarce), more images or fewer epochs help; the best checkpoint "
            "is from before.",
        )
    return Sentence("AP has fallen", f"{fall}, and the loss did not fall either: no overfitting, but an unsteady run.")
