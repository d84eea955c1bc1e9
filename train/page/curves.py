"""Curves of runs: losses, learning rate and AP by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datasets.pages import charts
from datasets.pages.charts import Axis, Chart, Line, Panel
from train.page.runs import Run

EPOCH = Axis("epoch")
# The parts of the loss, by Detectron2's names.
PARTS = {"rpn cls": "RPN, object", "rpn loc": "RPN, box", "cls": "category", "box reg": "box", "mask": "mask"}


def curves(runs: Sequence[Run]) -> list[Chart]:
    """A chart of all runs; of one alone, also the parts of its loss."""
    panels = [
        Panel(
            Axis("AP"), [_line(run.name, ((item.epochs, 100 * item.ap) for item in run.validations)) for run in runs]
        ),
        Panel(Axis("loss"), [_of_metric(run, "total_loss") for run in runs]),
        Panel(Axis("learning rate"), [_of_metric(run, "lr") for run in runs]),
    ]
    shown = [panel for panel in panels if any(line.x for line in panel.lines)]
    if not shown:
        return []
    titles = "AP, loss and learning rate" if len(shown) == len(panels) else "Loss and learning rate"
    return [charts.panels("curves", f"{titles} by epoch", shown, EPOCH), *(_parts(runs[0]) if len(runs) == 1 else [])]


def _parts(run: Run) -> list[Chart]:
    losses = run.metrics.losses
    known = [name for name in PARTS if name in losses]
    others = [name for name in losses if name not in PARTS]
    parts = [_line(PARTS.get(name, name), _by_epoch(run, losses[name])) for name in [*known, *others]]
    return (
        [
            charts.lines(
                "losses", "The parts of the loss; the RPN proposes what the others look at", parts, EPOCH, Axis("loss")
            )
        ]
        if parts
        else []
    )


def _of_metric(run: Run, name: str) -> Line:
    return _line(run.name, _by_epoch(run, run.metrics.points(name)))


def _by_epoch(run: Run, points: Iterable[tuple[int, float]]) -> Iterable[tuple[float, float]]:
    return ((run.epochs(done), value) for done, value in points)


def _line(name: str, points: Iterable[tuple[float, float]]) -> Line:
    found = list(points)
    return Line(name, [at for at, _ in found], [value for _, value in found])
