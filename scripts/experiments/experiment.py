"""An experiment: read, planned, and its unfinished jobs run, with a page that is brought up to date after each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from datasets import __version__, parallel, percent, spec
from datasets.cli import Progress
from datasets.errors import DataError
from datasets.staging import held, write_durably
from scripts.experiments import environment, job_result, runner, splits
from scripts.experiments.arms import Composed
from scripts.experiments.environment import Environment
from scripts.experiments.job_result import JobResult, Outcome
from scripts.experiments.jobs import DATA_STEPS, Job, Plan, Planner, Trial
from scripts.experiments.numbers import said_of
from scripts.experiments.splits import Split


class Request(NamedTuple):
    """What is run: `data` (its name, where it is a file, is `data_name`), in the folder `output`, at most `jobs`
    commands at a time (None: as many as fit), `gpus` of each training, by the command line `command`. `work` names the
    experiment in messages, `split` is what it is measured on. Checkpoints that nothing is to be predicted by any more
    are kept unless `keep_checkpoints` is false.
    """

    data: str
    data_name: str
    output: Path
    jobs: int | None
    gpus: int
    command: str
    work: str
    split: spec.SplitName = "val"
    keep_checkpoints: bool = True


class Experiment:
    """Arms and their trials on the splits `train` and `val`, planned. Raises DataError for unusable data.

    `done` has the results of finished jobs by identity; data and trainings count even if their output was removed.
    """

    def __init__(self, request: Request, arms: list[Composed], train: Split, val: Split, trials: list[Trial]) -> None:
        self.request = request
        self.output = request.output
        self.arms = {arm.name: arm for arm in arms}
        self.train = train
        self.val = val
        self.trials = trials
        self.data = splits.plan_data(request.data, self.train, self.arms, self.trials)
        self.done: dict[str, JobResult] = {}
        self.plan_again()

    @property
    def images(self) -> int:
        """The number of images of the whole training split that are trained on."""
        return splits.trainable(self.train, keep_empty=self._keep_empty)

    @property
    def _keep_empty(self) -> bool:
        return splits.keeps_empty(next(reversed(self.arms.values())).config)

    def plan_again(self) -> None:
        """Once data has been built, the trainings on it can be planned."""
        self._find(self.data.jobs.values())
        self.plan = self._planned()
        self._find(self.plan.jobs.values())

    def _find(self, jobs: Iterable[Job]) -> None:
        found = {job.identity: job_result.read(self.output, job) for job in jobs}
        self.done |= {identity: item for identity, item in found.items() if item is not None}

    def _planned(self) -> Plan:
        jobs = self.data.jobs
        compiled = [job for job in jobs.values() if job.step == "data"]
        built = {job.identity: self.done[job.identity].built() for job in compiled if job.identity in self.done}
        data = splits.training_data(self.train, self.data, self.output, built, keep_empty=self._keep_empty)
        val = splits.val_of(self.val)
        planner = Planner(data, val, gpus=self.request.gpus, version=__version__, first=jobs.values())
        for trial in self.trials:
            planner.add(self.arms[trial.arm], trial, self.arms)
        return planner.plan

    def wanted(self, trials: Iterable[Trial]) -> list[Job]:
        """The jobs of some trials, finished or not, in order."""
        return self.plan.needed(trials)

    def left(self, trials: Iterable[Trial]) -> list[Job]:
        """The jobs to run: unfinished ones, and their dependencies whose output was removed."""
        left: list[Job] = []
        needed = set[str]()
        for job in reversed(self.wanted(trials)):
            is_gone = job.identity in needed and not job_result.has_output(self.output, job)
            if job.identity not in self.done or is_gone:
                left.append(job)
                needed.update(job.needs)
        return left[::-1]

    def spent(self, trials: Iterable[Trial]) -> list[Job]:
        """The finished trainings whose checkpoints no unfinished job of these trials needs."""
        needed = {need for job in self.left(trials) for need in job.needs}
        trainings = [job for job in self.wanted(trials) if job.step == "train" and job.identity in self.done]
        return [job for job in trainings if job.identity not in needed]

    def measured(self, trial: Trial) -> JobResult | None:
        return self.done.get(self.plan.measured[trial])

    def trained(self, trial: Trial) -> JobResult | None:
        return self.done.get(self.plan.trainings[trial])

    def results_file(self, trial: Trial) -> Path:
        """The results that a trial was measured by."""
        return self.output / self.plan.jobs[self.plan.measured[trial]].folder / job_result.RESULTS

    def environments(self, trials: Iterable[Trial]) -> list[Environment]:
        """Those of all jobs that the numbers of these trials come from."""
        jobs = self.wanted(trials)
        return [self.done[job.identity].environment for job in jobs if job.identity in self.done]


def read_splits(request: Request) -> tuple[Split, Split]:
    """What is trained on, and what is measured on. Raises DataError for data that is missing or invalid."""
    return splits.read_split(request.data, "train"), splits.read_split(request.data, request.split)


def chosen(arms: Sequence[Composed], names: str, option: str) -> list[Composed]:
    """The arms named with commas between them, all where there are none. Raises DataError naming unknown ones."""
    wanted = [part.strip() for part in names.split(",") if part.strip()]
    known = [arm.name for arm in arms]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise DataError(f"{option}: expected some of {', '.join(known)}, found {', '.join(unknown)}")
    return [arm for arm in arms if arm.name in wanted or not wanted]


def listing(experiment: Experiment, trials: Sequence[Trial]) -> list[str]:
    """Every job with its command, and whether it is finished."""
    jobs, left = experiment.wanted(trials), {job.identity for job in experiment.left(trials)}
    lines = [f"{'to do' if job.identity in left else 'done '}  {job!s:<22} {job.step:<8} {job.folder}" for job in jobs]
    return [*lines, f"{len(jobs) - len(left)} of {len(jobs)} jobs are done"]


def run(
    experiment: Experiment,
    trials: Sequence[Trial],
    write_page: Callable[[], None],
    say: Callable[[str], None],
    progress: Progress,
) -> None:
    """Run the unfinished jobs of some trials. Raises DataError for a command that fails, and where another command is
    running this experiment.
    """
    with held(experiment.output / ".lock", experiment.output, work=experiment.request.work):
        # Written first, so that an unwritable page is noticed before hours of work.
        write_page()
        if not experiment.left(trials):
            return
        found = environment.gpus()
        ran_on = environment.describe(found, experiment.request.jobs or (1 if found else parallel.cores()))
        work = _Work(experiment, trials, ran_on, write_page, say, progress)
        work.run([job for job in experiment.left(trials) if job.step in DATA_STEPS])
        experiment.plan_again()
        work.run(experiment.left(trials))
        write_page()


class _Work(NamedTuple):
    experiment: Experiment
    trials: Sequence[Trial]
    ran_on: Environment
    write_page: Callable[[], None]
    say: Callable[[str], None]
    progress: Progress

    def run(self, jobs: list[Job]) -> None:
        self._show()
        for job in jobs:
            self.experiment.done.pop(job.identity, None)
            job_result.make_way(self.experiment.output, job)
        finished = set(self.experiment.done)
        runner.run(jobs, self.experiment.output, slots=self.ran_on.jobs, finished=finished, done=self._done)

    def _done(self, job: Job, seconds: float) -> None:
        experiment = self.experiment
        outcome = job_result.outcome_of(experiment.output, job, experiment.val.dataset)
        experiment.done[job.identity] = job_result.write(experiment.output, job, outcome, seconds, self.ran_on)
        count, total = self._show()
        self.say(f"[{count}/{total}] {job}: {_said(job, outcome, seconds)}")
        self.write_page()
        if not experiment.request.keep_checkpoints:
            for training in experiment.spent(self.trials):
                job_result.remove_checkpoints(experiment.output, training)

    def _show(self) -> tuple[int, int]:
        """Show and return how many jobs are done, of how many."""
        total = len(self.experiment.wanted(self.trials))
        count = total - len(self.experiment.left(self.trials))
        self.progress(self.experiment.request.work, count, total)
        return count, total


def _said(job: Job, outcome: Outcome, seconds: float) -> str:
    result = outcome.result
    if job.step == "train":
        return f"trained in {result['seconds'] or 0:,.0f} s"
    if job.step in DATA_STEPS:
        return f"{'drawn' if job.step == 'subset' else 'compiled'} in {seconds:,.0f} s"
    about = said_of(result, outcome.doubt)
    shown = f"{'predicted' if job.step == 'predict' else 'fused'}, AP {percent.precision(result['ap'])}"
    return f"{shown} ({about})" if about else shown


def write_files(output: Path, files: dict[str, str]) -> None:
    """Write the pages of an experiment beside its folder: suffix -> text."""
    try:
        for suffix, text in files.items():
            write_durably(output.with_name(f"{output.name}{suffix}"), text)
    except OSError as error:
        raise DataError(f"{output}.md: cannot be written: {error.strerror} ({error.filename})") from None
