"""The ladder as an experiment: each rung is an arm that differs from the one before, and the page a row a rung."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from datasets.cli import Progress
from scripts.experiments import experiment
from scripts.experiments.arms import Composed, base_of, compose, find_settings, load_arms
from scripts.experiments.experiment import Experiment
from scripts.experiments.jobs import Trial
from scripts.experiments.made_with import different
from scripts.ladder import table
from scripts.ladder.footnotes import About, notes

RUNGS = Path(__file__).parent / "rungs"
SETTINGS = Path(__file__).parent / "settings"
# Data at least as large as the paper's.
SETTINGS_OF = {"sample": "sample", "vipriors": "paper", "coco-small": "paper"}


class Request(NamedTuple):
    """The parameters of `python -m scripts.ladder`: settings by name (None: those of the data), the number of seeds,
    the names of rungs (none: all).
    """

    experiment: experiment.Request
    settings: str | None
    seeds: int
    rungs: str


class Ladder:
    """A ladder, read and planned. Raises DataError for unusable data, settings or rungs."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.output = request.experiment.output
        self.settings_name = request.settings or SETTINGS_OF.get(request.experiment.data_name, "small")
        self.settings = find_settings(self.settings_name, SETTINGS)
        self.rungs = compose(load_arms(RUNGS), self.settings, base_of(self.settings))
        self.chosen = experiment.chosen(self.rungs, request.rungs, "--rungs")
        train, val = experiment.read_splits(request.experiment)
        self.experiment = Experiment(request.experiment, self.rungs, train, val, self.trials(self.rungs))

    @property
    def seeds(self) -> range:
        return range(self.request.seeds)

    def trials(self, rungs: list[Composed]) -> list[Trial]:
        return [trial for rung in rungs for trial in self._trials(rung.name)]

    def _trials(self, name: str) -> list[Trial]:
        return [Trial(name, images=0, length=1, seed=seed) for seed in self.seeds]

    def rows(self) -> list[table.Row]:
        return [self._row(rung) for rung in self.rungs]

    def _row(self, rung: Composed) -> table.Row:
        """The row of a rung, with numbers once every seed has them."""
        empty = table.Row(rung.folder, rung.name, rung.arm.about, rung.arm.section, rung.arm.paper, rung.trains)
        trials = self._trials(rung.name)
        measured = [self.experiment.measured(trial) for trial in trials]
        trained = [self.experiment.trained(trial) for trial in trials]
        if None in measured or None in trained:
            return empty
        return empty._replace(
            measured=tuple(item.result for item in measured if item),
            doubts=tuple(item.doubt for item in measured if item),
            trained=tuple(item.result | self._parameters(rung) for item in trained if item),
            seconds=tuple(map(self._seconds, trials)),
        )

    def about(self) -> About:
        """The subject of the table as it is."""
        shown = [trial for row in self.rows() if row.measured for trial in self._trials(row.name)]
        papers = {rung.name: rung.arm.paper for rung in self.rungs}
        return About(
            data=self.request.experiment.data_name,
            train_images=len(self.experiment.train.dataset.images),
            val_images=len(self.experiment.val.dataset.images),
            settings=self.settings_name,
            settings_about=self.settings.about,
            seeds=list(self.seeds),
            iterations={rung.name: rung.iterations for rung in self.rungs if rung.trains},
            batch=int(self.rungs[0].config["SOLVER"]["IMS_PER_BATCH"]),
            on_test={name: paper.ap for name, paper in papers.items() if paper and paper.split == "test"},
            raw=[rung.name for rung in self.rungs if rung.raw],
            command=self.request.experiment.command,
            made_with=different(self.experiment.environments(shown)),
        )

    def _seconds(self, trial: Trial) -> float:
        """The seconds of the measured job, and of the predictions that it fused."""
        plan, done = self.experiment.plan, self.experiment.done
        identity = plan.measured[trial]
        needs = [need for need in plan.jobs[identity].needs if plan.jobs[need].step == "predict"]
        return sum(done[item].seconds for item in (identity, *needs) if item in done)

    def _parameters(self, rung: Composed) -> dict[str, float | None]:
        """The parameters of all fused models; of a single one otherwise."""
        models = [self.experiment.trained(self._trials(name)[0]) for name in rung.arm.fuse]
        counts = [item.result["parameters"] or 0 for item in models if item]
        return {"parameters": sum(counts)} if counts else {}


def listing(ladder: Ladder) -> list[str]:
    return experiment.listing(ladder.experiment, ladder.trials(ladder.chosen))


def run_ladder(ladder: Ladder, say: Callable[[str], None], progress: Progress) -> None:
    """Run the unfinished jobs of the chosen rungs. Raises DataError as `experiment.run`."""
    trials = ladder.trials(ladder.chosen)
    experiment.run(ladder.experiment, trials, lambda: write_page(ladder), say, progress)


def write_page(ladder: Ladder) -> None:
    """Write ladder.md and ladder.json beside the ladder's folder."""
    rows, about = ladder.rows(), ladder.about()
    text = json.dumps(table.as_json(rows, about.as_json()), indent=1, ensure_ascii=False)
    page = table.document(rows, notes(about), f"The ladder on {about.data}")
    experiment.write_files(ladder.output, {".md": page, ".json": f"{text}\n"})
