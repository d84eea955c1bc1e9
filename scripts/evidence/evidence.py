"""The bench as an experiment: arms on subsets of the images, compared on the same images with the same seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from datasets import comparison, result_reading
from datasets.cli import Progress
from datasets.comparison import Difference
from datasets.errors import DataError
from scripts.evidence import page, pictures
from scripts.evidence.page import ArmAbout, Cell, Doubled, Tables
from scripts.experiments import experiment, made_with, splits
from scripts.experiments.arms import Composed, base_of, compose, find_settings, load_arms
from scripts.experiments.experiment import Experiment
from scripts.experiments.jobs import Trial
from scripts.experiments.numbers import spread

HERE = Path(__file__).parent
SETTINGS = HERE / "settings"
LISTS = ("arms", "causes")
# In the name of a job's folder.
SEED = re.compile(r"\bseed(\d{1,9})\b")
SETTINGS_OF = {"bccd": "bccd", "sample": "sample"}


class Request(NamedTuple):
    """The parameters of `python -m scripts.evidence`; empty ones are all that the settings or the list have."""

    experiment: experiment.Request
    list: str
    settings: str | None
    seeds: int
    arms: str
    images: tuple[int, ...]
    lengths: tuple[int, ...]


class Evidence:
    """Arms on subsets of the images, read and planned. Raises DataError for unusable data, settings or arms."""

    def __init__(self, request: Request) -> None:
        self.request = request
        common = request.experiment
        self.settings_name = request.settings or SETTINGS_OF.get(common.data_name, "small")
        self.settings = find_settings(self.settings_name, SETTINGS)
        folder = _list_folder(request.list)
        self.name = common.output.name if request.list == LISTS[0] else folder.name
        self.arms = compose(load_arms(folder), self.settings, base_of(self.settings))
        names = {arm.name for arm in experiment.chosen(self.arms, request.arms, "--arms")}
        lengths = _asked(request.lengths, self.settings.lengths, "--lengths")
        train, val = experiment.read_splits(common)
        self.counts = splits.drawable(self.settings.images, train)
        images = _asked(request.images, self.counts, "--images")
        self.seeds = _shown_seeds(request.seeds, common.output)
        trials = self._trials()
        self.experiment = Experiment(common, self.arms, train, val, trials)
        self.chosen = [
            item
            for item in trials
            if item.arm in names and item.images in images and item.length in lengths and item.seed < request.seeds
        ]
        self._aps: dict[tuple[str, ...], comparison.ArmAps] = {}

    def _trials(self) -> list[Trial]:
        """One seed after the other, so that there is a whole table early."""
        return [
            Trial(arm.name, count, length, seed)
            for seed in self.seeds
            for length in self.settings.lengths
            for count in self.counts
            for arm in self.arms
        ]

    @property
    def page(self) -> Path:
        """The path of the page, without its suffix."""
        split = self.request.experiment.split
        name = self.name if split == "val" else f"{self.name}-{split}"
        return self.experiment.output.with_name(name)

    def tables(self) -> Tables:
        cells = [
            cell
            for length in self.settings.lengths
            for count in self.counts
            for arm in self.arms
            if (cell := self._cell(arm, count, length)) is not None
        ]
        headline = next((arm for arm in self.arms if arm.arm.headline), None)
        abouts = [ArmAbout(arm.name, arm.arm.about, arm.base) for arm in self.arms]
        doubled = self._doubled(headline) if headline else []
        return Tables(abouts, cells, doubled, headline.name if headline else "", self.request.experiment.split)

    def _seeds(self, arm: str, count: int, length: int) -> list[int]:
        """Those that are measured."""
        return [seed for seed in self.seeds if self.experiment.measured(Trial(arm, count, length, seed)) is not None]

    def _cell(self, arm: Composed, count: int, length: int) -> Cell | None:
        seeds = self._seeds(arm.name, count, length)
        found = [self.experiment.measured(Trial(arm.name, count, length, seed)) for seed in seeds]
        ap = spread([item.result["ap"] for item in found if item is not None])
        if ap is None:
            return None
        reference = self.arms[0].name
        place = (count, length)
        return Cell(
            arm=arm.name,
            images=self._images(count),
            steps=arm.iterations * length,
            ap=ap,
            seeds=len(seeds),
            from_reference=self._difference((arm.name, *place), (reference, *place)),
            from_base=self._difference((arm.name, *place), (arm.base, *place)) if arm.base != reference else None,
        )

    def _doubled(self, headline: Composed) -> list[Doubled]:
        known = {self._images(count): count for count in self.counts}
        found = []
        for length in self.settings.lengths:
            for images, count in sorted(known.items()):
                other = page.nearest_double(images, known)
                if other is None:
                    continue
                pair = (headline.name, count, length), (self.arms[0].name, known[other], length)
                difference = self._difference(*pair)
                if difference is not None:
                    found.append(Doubled(images, other, headline.iterations * length, difference))
        return found

    def _images(self, count: int) -> int:
        return count or self.experiment.images

    def _difference(self, one: tuple[str, int, int], other: tuple[str, int, int]) -> Difference | None:
        """Of the first from the other, over the seeds that both have."""
        if not other[0] or one == other:
            return None
        seeds = [seed for seed in self._seeds(*one) if seed in self._seeds(*other)]
        if not seeds:
            return None
        return comparison.difference(self._aps_of(one, seeds), self._aps_of(other, seeds))

    def _aps_of(self, place: tuple[str, int, int], seeds: list[int]) -> comparison.ArmAps:
        trials = [Trial(*place, seed) for seed in seeds]
        key = tuple(self.experiment.plan.measured[trial] for trial in trials)
        if key not in self._aps:
            results = [result_reading.read(self.experiment.results_file(trial)) for trial in trials]
            self._aps[key] = comparison.measured(self.experiment.val.dataset, results)
        return self._aps[key]

    def notes(self, tables: Tables) -> list[str]:
        """Lines of Markdown below the tables."""
        solver = self.arms[0].config["SOLVER"]
        shown = [trial for trial in self.experiment.trials if self.experiment.measured(trial) is not None]
        several = max((cell.seeds for cell in tables.cells), default=0)
        return [
            f"Data: {self.request.experiment.data_name}; AP on the {len(self.experiment.val.dataset.images)} images of "
            f"its split `{self.request.experiment.split}`. Subsets of the training images are drawn with the seed of "
            "the training, and those with few images are part of those with more.",
            f"Settings: {self.settings_name} ({self.settings.about}); batches of {solver['IMS_PER_BATCH']}; as many "
            "steps for every arm.",
            f"Seeds: at most {several}. `52.7 ± 0.4` is mean and sample standard deviation over them. Below it the "
            f"difference from {self.arms[0].name}, with the 95 % interval of a paired bootstrap over images and seeds: "
            "bold where it excludes 0. With one seed it is the images' alone, and too narrow.",
            *made_with.notes(made_with.different(self.experiment.environments(shown)), self.request.experiment.command),
        ]


def _list_folder(name: str) -> Path:
    folder = HERE / name if name in LISTS else Path(name)
    if not folder.is_dir():
        raise DataError(f"--list {name}: expected a folder of YAML files or one of {', '.join(LISTS)}, found neither")
    return folder


def _shown_seeds(asked: int, output: Path) -> list[int]:
    """Those that were asked for, and those of earlier runs, which stay on the page."""
    names = (SEED.search(path.parent.name) for path in output.glob("*/*/job.json"))
    return sorted({*range(asked), *(int(found[1]) for found in names if found is not None)})


def _asked(asked: tuple[int, ...], known: tuple[int, ...], option: str) -> tuple[int, ...]:
    if unknown := [str(number) for number in asked if number not in known]:
        raise DataError(
            f"{option}: expected some of the settings' that the data allow ({', '.join(map(str, known))}), found "
            f"{', '.join(unknown)}"
        )
    return asked or known


def run_evidence(evidence: Evidence, say: Callable[[str], None], progress: Progress) -> None:
    """Run the unfinished jobs of what was chosen. Raises DataError as `experiment.run`."""
    experiment.run(evidence.experiment, evidence.chosen, lambda: write_page(evidence), say, progress)


def write_page(evidence: Evidence) -> None:
    """Write the page, its data and its pictures beside the experiment's folder."""
    tables, path = evidence.tables(), evidence.page
    notes = evidence.notes(tables)
    drawn = pictures.draw(tables) if tables.cells else {}
    shown = [(about, f"{path.name}-{name}.svg") for name, (about, _) in drawn.items()]
    title = f"Evidence on {evidence.request.experiment.data_name}"
    text = json.dumps(page.as_json(tables, {"notes": notes}), indent=1, ensure_ascii=False)
    files = {".md": page.document(tables, notes, title, shown), ".json": f"{text}\n"}
    files |= {f"-{name}.svg": svg for name, (_, svg) in drawn.items()}
    experiment.write_files(path, files)
