"""The ladder as a whole: read, plan, run what is not done, and keep the table up to date."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import __version__
from datasets.errors import DataError
from datasets.staging import held, write_durably
from datasets.terminal import Progress
from scripts.ladder import finished, machine, runner, sources, table
from scripts.ladder.jobs import Job, Plan, Planner
from scripts.ladder.rungs import Composed, Settings, base_of, compose, find_settings, load_rungs


class Request(NamedTuple):
    """What `python -m scripts.ladder` was asked for. `data_name` is the data's name where `data` is a file."""

    data: str
    data_name: str
    output: Path
    settings: str | None
    seeds: int
    rungs: tuple[str, ...]
    jobs: int | None
    gpus: int
    command: str


class Ladder:
    """A ladder that is read and planned. Raises DataError for data, settings or rungs that cannot be used."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.output = request.output
        self.settings_name, self.settings = find_settings(request.settings, request.data_name)
        self.rungs = compose(load_rungs(), self.settings, base_of(self.settings))
        self.chosen = _chosen(self.rungs, request.rungs)
        self.train = sources.read_split(request.data, "train")
        self.val = sources.read_split(request.data, "val")
        self.data_jobs = sources.data_jobs(self.rungs, self.train)
        self.plan = self._planned()
        self.done = {
            job.identity: found for job in self.all_jobs() if (found := finished.read(self.output, job)) is not None
        }

    @property
    def seeds(self) -> range:
        return range(self.request.seeds)

    def all_jobs(self) -> list[Job]:
        return [*self.data_jobs.values(), *self.plan.jobs.values()]

    def wanted(self) -> list[Job]:
        """The jobs of the chosen rungs, whether they are done or not, in order."""
        jobs = self.plan.needed([rung.name for rung in self.chosen], self.seeds)
        owners = {self.plan.trainings[rung.name, seed]: rung.data for rung in self.rungs for seed in self.seeds}
        used = {owners[job.identity] for job in jobs if job.step == "train"}
        return [*(job for recipe, job in self.data_jobs.items() if recipe in used), *jobs]

    def plan_again(self) -> None:
        """When data has been built, what is trained on it is known."""
        self.plan = self._planned()
        self.done |= {
            job.identity: found
            for job in self.plan.jobs.values()
            if (found := finished.read(self.output, job)) is not None
        }

    def _planned(self) -> Plan:
        keep_empty = sources.keeps_empty(self.rungs[-1].config)
        data = sources.training_data(self.request.data, self.train, self.data_jobs, self.output, keep_empty=keep_empty)
        planner = Planner(data, sources.val_of(self.val), gpus=self.request.gpus, version=__version__)
        by_name = {rung.name: rung for rung in self.rungs}
        for rung in self.rungs:
            for seed in self.seeds:
                planner.add(rung, seed, by_name)
        return planner.plan

    def rows(self) -> list[table.Row]:
        return [self._row(rung) for rung in self.rungs]

    def _row(self, rung: Composed) -> table.Row:
        """With numbers, where every seed has them."""
        empty = table.Row(rung.folder, rung.name, rung.rung.about, rung.rung.section, rung.rung.paper, rung.trains)
        measured = [self.done.get(self.plan.measured[rung.name, seed]) for seed in self.seeds]
        trained = [self.done.get(self.plan.trainings[rung.name, seed]) for seed in self.seeds]
        if None in measured or None in trained:
            return empty
        return empty._replace(
            measured=tuple(item.result for item in measured if item),
            trained=tuple(item.result | self._parameters(rung) for item in trained if item),
            seconds=tuple(self._seconds(rung, seed) for seed in self.seeds),
        )

    def _seconds(self, rung: Composed, seed: int) -> float:
        """Of the measured job, and of the predictions that it fused."""
        identity = self.plan.measured[rung.name, seed]
        needs = [need for need in self.plan.jobs[identity].needs if self.plan.jobs[need].step == "predict"]
        return sum(self.done[item].seconds for item in (identity, *needs) if item in self.done)

    def _parameters(self, rung: Composed) -> dict[str, float | None]:
        """Of all models that are fused; nothing to add for a rung with one."""
        models = [self.done.get(self.plan.trainings[name, 0]) for name in rung.rung.fuse]
        counts = [item.result["parameters"] or 0 for item in models if item]
        return {"parameters": sum(counts)} if counts else {}


def _chosen(rungs: list[Composed], names: Sequence[str]) -> list[Composed]:
    known = [rung.name for rung in rungs]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f"--rungs: expected some of {', '.join(known)}, found {', '.join(unknown)}")
    return [rung for rung in rungs if rung.name in names or not names]


def listing(ladder: Ladder) -> list[str]:
    """Every job with what it runs, and whether it is done."""
    jobs = ladder.wanted()
    lines = [
        f"{'done ' if job.identity in ladder.done else 'to do'}  {job!s:<22} {job.step:<8} {job.folder}" for job in jobs
    ]
    done = sum(job.identity in ladder.done for job in jobs)
    return [*lines, f"{done} of {len(jobs)} jobs are done"]


def climb(ladder: Ladder, say: Callable[[str], None], progress: Progress) -> None:
    """Run what is not done. Raises DataError for a step that fails, and where another ladder is at work here."""
    with held(ladder.output / ".lock", ladder.output):
        found = machine.gpus()
        slots = ladder.request.jobs or (1 if found else machine.cores())
        page = _Page(ladder, machine.kind(found))
        _run(ladder, [job for job in ladder.wanted() if job.step == "data"], slots, page, say, progress)
        ladder.plan_again()
        _run(ladder, ladder.wanted(), slots, page, say, progress)
        page.write()


def _run(
    ladder: Ladder, jobs: list[Job], slots: int, page: _Page, say: Callable[[str], None], progress: Progress
) -> None:
    total = len(ladder.wanted())

    def done(job: Job, seconds: float) -> None:
        result = finished.result_of(ladder.output, job, ladder.val.dataset)
        ladder.done[job.identity] = finished.write(ladder.output, job, result, seconds)
        count = sum(item.identity in ladder.done for item in ladder.wanted())
        say(f"[{count}/{total}] {job}: {_said(job, result, seconds)}")
        progress("climbing", count, total)
        page.write()

    progress("climbing", sum(item.identity in ladder.done for item in ladder.wanted()), total)
    left = [job for job in jobs if job.identity not in ladder.done]
    runner.run(left, ladder.output, slots=slots, finished=set(ladder.done), done=done)


def _said(job: Job, result: dict[str, float | None], seconds: float) -> str:
    if job.step == "train":
        return f"trained in {result['seconds'] or 0:,.0f} s"
    if job.step == "data":
        return f"compiled in {seconds:,.0f} s"
    ap = result["ap"]
    return f"{'predicted' if job.step == 'predict' else 'fused'}, AP {'-' if ap is None else f'{100 * ap:.1f}'}"


class _Page:
    """ladder.md and ladder.json beside the ladder's folder."""

    def __init__(self, ladder: Ladder, kind: str) -> None:
        self._ladder = ladder
        self._about = about(ladder, kind)

    def write(self) -> None:
        rows, ladder = self._ladder.rows(), self._ladder
        place = ladder.output.parent / ladder.output.name
        title = f"The ladder on {ladder.request.data_name}"
        write_durably(place.with_name(f"{place.name}.md"), table.document(rows, notes(self._about), title))
        text = json.dumps(table.as_json(rows, self._about), indent=1, ensure_ascii=False)
        write_durably(place.with_name(f"{place.name}.json"), f"{text}\n")


def about(ladder: Ladder, kind: str) -> dict[str, Any]:
    settings: Settings = ladder.settings
    solver = ladder.rungs[0].config["SOLVER"]
    return {
        "data": ladder.request.data_name,
        "train_images": len(ladder.train.dataset.images),
        "val_images": len(ladder.val.dataset.images),
        "settings": ladder.settings_name,
        "settings_about": settings.about,
        "seeds": list(ladder.seeds),
        "iterations": {rung.name: rung.iterations for rung in ladder.rungs if rung.trains},
        "batch": solver["IMS_PER_BATCH"],
        "machine": kind,
        "versions": machine.versions(),
        "command": ladder.request.command,
    }


def notes(found: dict[str, Any]) -> list[str]:
    """What stands under the table."""
    iterations = found["iterations"]
    numbers = sorted(set(iterations.values()))
    each = (
        f"{numbers[0]:,} for every rung"
        if len(numbers) == 1
        else "; ".join(f"{name} {count:,}" for name, count in iterations.items())
    )
    return [
        f"Data: {found['data']}, trained on the split `train` ({found['train_images']:,} images) or what `augment` "
        f"made of it, measured on `val` ({found['val_images']:,} images); where a training has seen some of these, "
        "that stands next to the AP. The paper's AP is that of its own data.",
        f"Settings: {found['settings']} ({found['settings_about']}). Iterations: {each}; batch {found['batch']}.",
        f"Seeds: {', '.join(map(str, found['seeds']))}. `12.3 ± 0.4` is mean and sample standard deviation over the "
        "seeds; changes are against the rung above, taken seed by seed.",
        "Time a seed: that of the training's steps (metrics.json: median of 20 steps times their number), without its "
        "start and its checkpoints; where nothing is trained, that of predicting and fusing.",
        f"Machine: {found['machine']}. Versions: {found['versions']}.",
        f"Command: `{found['command']}`",
    ]
