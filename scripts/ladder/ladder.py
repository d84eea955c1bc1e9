"""The whole ladder: read, plan, run unfinished jobs, and update the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import __version__, parallel, percent
from datasets.cli import Progress
from datasets.errors import DataError
from datasets.staging import held, write_durably
from scripts.ladder import environment, job_result, runner, splits, table
from scripts.ladder.environment import Environment
from scripts.ladder.footnotes import About, different, notes
from scripts.ladder.job_result import JobResult, Outcome
from scripts.ladder.jobs import Job, Plan, Planner
from scripts.ladder.rungs import Composed, base_of, compose, find_settings, load_rungs
from scripts.ladder.table import said_of


class Request(NamedTuple):
    """The parameters of `python -m scripts.ladder`. `data_name` is the name of the data where `data` is a file."""

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
    """A ladder, read and planned. Raises DataError for unusable data, settings or rungs.

    `done` has the results of finished jobs by identity; data and trainings count even if their output was removed.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.output = request.output
        self.settings_name, self.settings = find_settings(request.settings, request.data_name)
        self.rungs = compose(load_rungs(), self.settings, base_of(self.settings))
        self.chosen = _chosen(self.rungs, request.rungs)
        self.train = splits.read_split(request.data, "train")
        self.val = splits.read_split(request.data, "val")
        self.data_jobs = splits.data_jobs(self.rungs, self.train)
        self.done: dict[str, JobResult] = {}
        self.plan_again()

    @property
    def seeds(self) -> range:
        return range(self.request.seeds)

    def plan_again(self) -> None:
        """Once data has been built, the trainings on it can be planned."""
        self._find(self.data_jobs.values())
        self.plan = self._planned()
        self._find(self.plan.jobs.values())

    def _find(self, jobs: Iterable[Job]) -> None:
        found = {job.identity: job_result.read(self.output, job) for job in jobs}
        self.done |= {identity: item for identity, item in found.items() if item is not None}

    def _planned(self) -> Plan:
        keep_empty = splits.keeps_empty(self.rungs[-1].config)
        jobs = self.data_jobs
        built = {job.identity: self.done[job.identity].built() for job in jobs.values() if job.identity in self.done}
        data = splits.training_data(self.request.data, self.train, jobs, self.output, built, keep_empty=keep_empty)
        val = splits.val_of(self.val)
        planner = Planner(data, val, gpus=self.request.gpus, version=__version__, first=jobs.values())
        by_name = {rung.name: rung for rung in self.rungs}
        for rung in self.rungs:
            for seed in self.seeds:
                planner.add(rung, seed, by_name)
        return planner.plan

    def wanted(self) -> list[Job]:
        """The jobs of the chosen rungs, finished or not, in order."""
        return self.plan.needed([rung.name for rung in self.chosen], self.seeds)

    def left(self) -> list[Job]:
        """The jobs to run: unfinished ones, and their dependencies whose output was removed."""
        left: list[Job] = []
        needed = set[str]()
        for job in reversed(self.wanted()):
            is_gone = job.identity in needed and not job_result.has_output(self.output, job)
            if job.identity not in self.done or is_gone:
                left.append(job)
                needed.update(job.needs)
        return left[::-1]

    def rows(self) -> list[table.Row]:
        return [self._row(rung) for rung in self.rungs]

    def _row(self, rung: Composed) -> table.Row:
        """The row of a rung, with numbers once every seed has them."""
        empty = table.Row(rung.folder, rung.name, rung.rung.about, rung.rung.section, rung.rung.paper, rung.trains)
        measured = [self.done.get(self.plan.measured[rung.name, seed]) for seed in self.seeds]
        trained = [self.done.get(self.plan.trainings[rung.name, seed]) for seed in self.seeds]
        if None in measured or None in trained:
            return empty
        return empty._replace(
            measured=tuple(item.result for item in measured if item),
            doubts=tuple(item.doubt for item in measured if item),
            trained=tuple(item.result | self._parameters(rung) for item in trained if item),
            seconds=tuple(self._seconds(rung, seed) for seed in self.seeds),
        )

    def about(self) -> About:
        """The subject of the table as it is."""
        shown = [row.name for row in self.rows() if row.measured]
        environments = [
            self.done[job.identity].environment
            for job in self.plan.needed(shown, self.seeds)
            if job.identity in self.done
        ]
        papers = {rung.name: rung.rung.paper for rung in self.rungs}
        return About(
            data=self.request.data_name,
            train_images=len(self.train.dataset.images),
            val_images=len(self.val.dataset.images),
            settings=self.settings_name,
            settings_about=self.settings.about,
            seeds=list(self.seeds),
            iterations={rung.name: rung.iterations for rung in self.rungs if rung.trains},
            batch=int(self.rungs[0].config["SOLVER"]["IMS_PER_BATCH"]),
            on_test={name: paper.ap for name, paper in papers.items() if paper and paper.split == "test"},
            raw=[rung.name for rung in self.rungs if rung.raw],
            command=self.request.command,
            **different(environments),
        )

    def _seconds(self, rung: Composed, seed: int) -> float:
        """The seconds of the measured job, and of the predictions that it fused."""
        identity = self.plan.measured[rung.name, seed]
        needs = [need for need in self.plan.jobs[identity].needs if self.plan.jobs[need].step == "predict"]
        return sum(self.done[item].seconds for item in (identity, *needs) if item in self.done)

    def _parameters(self, rung: Composed) -> dict[str, float | None]:
        """The parameters of all fused models; of a single one otherwise."""
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
    """Every job with its command, and whether it is finished."""
    jobs, left = ladder.wanted(), {job.identity for job in ladder.left()}
    lines = [f"{'to do' if job.identity in left else 'done '}  {job!s:<22} {job.step:<8} {job.folder}" for job in jobs]
    return [*lines, f"{len(jobs) - len(left)} of {len(jobs)} jobs are done"]


def run_ladder(ladder: Ladder, say: Callable[[str], None], progress: Progress) -> None:
    """Run the unfinished jobs. Raises DataError for a command that fails, and where another ladder is running here."""
    with held(ladder.output / ".lock", ladder.output, work="ladder"):
        # Written first, so that an unwritable page is noticed before hours of work.
        write_page(ladder)
        if not ladder.left():
            return
        found = environment.gpus()
        ran_on = environment.describe(found, ladder.request.jobs or (1 if found else parallel.cores()))
        _run(ladder, [job for job in ladder.left() if job.step == "data"], ran_on, say, progress)
        ladder.plan_again()
        _run(ladder, ladder.left(), ran_on, say, progress)
        write_page(ladder)


def _run(ladder: Ladder, jobs: list[Job], ran_on: Environment, say: Callable[[str], None], progress: Progress) -> None:
    total = len(ladder.wanted())

    def done(job: Job, seconds: float) -> None:
        outcome = job_result.outcome_of(ladder.output, job, ladder.val.dataset)
        ladder.done[job.identity] = job_result.write(ladder.output, job, outcome, seconds, ran_on)
        count = total - len(ladder.left())
        say(f"[{count}/{total}] {job}: {_said(job, outcome, seconds)}")
        progress("climbing", count, total)
        write_page(ladder)

    progress("climbing", total - len(ladder.left()), total)
    for job in jobs:
        ladder.done.pop(job.identity, None)
        job_result.make_way(ladder.output, job)
    runner.run(jobs, ladder.output, slots=ran_on.jobs, finished=set(ladder.done), done=done)


def _said(job: Job, outcome: Outcome, seconds: float) -> str:
    result = outcome.result
    if job.step == "train":
        return f"trained in {result['seconds'] or 0:,.0f} s"
    if job.step == "data":
        return f"compiled in {seconds:,.0f} s"
    ap = result["ap"]
    about = said_of(result, outcome.doubt)
    shown = f"{'predicted' if job.step == 'predict' else 'fused'}, AP {percent.precision(ap)}"
    return f"{shown} ({about})" if about else shown


def write_page(ladder: Ladder) -> None:
    """Write ladder.md and ladder.json beside the ladder's folder."""
    rows, about, output = ladder.rows(), ladder.about(), ladder.output
    text = json.dumps(table.as_json(rows, about.as_json()), indent=1, ensure_ascii=False)
    try:
        page = table.document(rows, notes(about), f"The ladder on {about.data}")
        write_durably(output.with_name(f"{output.name}.md"), page)
        write_durably(output.with_name(f"{output.name}.json"), f"{text}\n")
    except OSError as error:
        raise DataError(f"{output}.md: cannot be written: {error.strerror} ({error.filename})") from None
