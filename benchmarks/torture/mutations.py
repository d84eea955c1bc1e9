"""Commands on mutated files: which ones run on each kind, and what counts as an offence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.torture import forked, json_mutants, judging, picture_mutants
from benchmarks.torture.forked import Outcome
from benchmarks.torture.judging import Offence
from benchmarks.torture.material import Material

# Seconds a command may take; on these small files the slowest takes one.
LIMIT = 30.0
# Options that change how files are read; each command that has them gets some.
LENIENT = ("--clip-boxes", "--skip-bad", "--strict")
# Text about masks whose image size comes from a file that was replaced.
_MASK_SIZE = "segmentation.size: expected [height, width] of the image"


class Found(NamedTuple):
    """An offence, the command that shows it, and its output."""

    command: tuple[str, ...]
    offence: Offence
    said: str

    @property
    def signature(self) -> str:
        return judging.signature(" ".join(self.command[:2]), self.offence)


class Case(NamedTuple):
    """What came of a mutant."""

    number: int
    about: str
    outcomes: list[Outcome]
    found: list[Found]


class Trial:
    """Commands on one mutant, one after another, in a folder of its own; their paths are absolute."""

    def __init__(self, about: str, folder: Path, *named: str, limit: float = LIMIT) -> None:
        """`named` is what errors have to name one of: the file."""
        self.about = about
        self.folder = folder
        self.outcomes: list[Outcome] = []
        self.found: list[Found] = []
        self._named, self._limit = named, limit

    def run(self, *command: str, outputs: tuple[str, ...] = (), expect: bool = False, named: str = "") -> bool:
        """Run a command; True where it did its work. `outputs` are what it then has made in the folder.

        With `expect` it has to do it: what an earlier command said or made leaves no other outcome. An error must name
        the mutant, or the file that is `named`.
        """
        before = judging.tree(self.folder)
        said = self.folder.with_name(f"{self.folder.name}-said")
        said.mkdir()
        outcome = forked.run(command, said, seconds=self._limit)
        shutil.rmtree(said)
        self.outcomes.append(outcome)
        offences = judging.of_outcome(outcome, (named,) if named else self._named)
        offences += judging.of_files(outcome, before, judging.tree(self.folder), list(outputs))
        if expect and outcome.code == 1 and not offences:
            offences.append(Offence("disagreement", f"it was good before: {outcome.err.strip()[:300]}"))
        for offence in offences:
            self.blame(command, offence, outcome.err)
        return outcome.code == 0

    def blame(self, command: Sequence[str], offence: Offence, said: str = "") -> None:
        self.found.append(Found(tuple(command), offence, said))


class Kind(NamedTuple):
    """A kind of file to break: `strategy` draws mutants with options, `attempt` writes one and runs the commands."""

    name: str
    about: str
    strategy: st.SearchStrategy[Any]
    attempt: Callable[[Any, Path], Trial]


def explore(kind: Kind, cases: int, seed: int, work: Path, show: Callable[[Case], None]) -> None:
    """Try `cases` mutants, the same for the same seed, and `show` each; the folder of one with an offence stays."""
    tried = 0

    @hypothesis.seed(seed)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(kind.strategy)
    def each(drawn: Any) -> None:
        nonlocal tried
        tried += 1
        folder = work / f"{kind.name}-{tried:05d}"
        folder.mkdir(parents=True)
        trial = kind.attempt(drawn, folder)
        if not trial.found:
            shutil.rmtree(folder)
        show(Case(tried, trial.about, trial.outcomes, trial.found))

    each()


def _options(*flags: str) -> st.SearchStrategy[tuple[str, ...]]:
    """None of them as often as some."""
    some = st.lists(st.sampled_from(flags), unique=True, max_size=len(flags)).map(tuple)
    return st.one_of(st.just(()), some)


def annotation_files(material: Material) -> Kind:
    """Mutated annotation files, given to every command that reads one."""

    def attempt(drawn: tuple[json_mutants.Mutant, tuple[str, ...]], folder: Path) -> Trial:
        mutant, options = drawn
        path = folder / "broken.json"
        path.write_bytes(json_mutants.applied(material.annotations, mutant))
        trial = Trial(f"{mutant} {' '.join(options)}", folder, path.name)
        inputs = ("--annotations", str(path), "--images", str(material.images), *options)
        good = trial.run("datasets", "check", *inputs)
        # Images without any object are valid data, but cannot be built alone.
        to_build = good and ", 0 annotations" not in trial.outcomes[0].out
        trial.run("augment", "plan", *inputs, "--workers", "1", expect=to_build)
        build = ("augment", "build", *inputs, "--workers", "1", "--output", str(folder / "out"))
        if trial.run(*build, outputs=("out",), expect=to_build):
            trial.run("augment", "verify", str(folder / "out"), "--workers", "1", expect=True, named="out")
            if not good:
                trial.blame(("augment", "build"), Offence("disagreement", "built what check refuses"))
        results = ("--results", str(material.folder / "results.json"))
        trial.run("datasets", "evaluate", "--annotations", str(path), *results)
        fused = folder / "fused.json"
        if trial.run(
            "ensemble", "fuse", "--annotations", str(path), *results, "--output", str(fused), outputs=(fused.name,)
        ):
            trial.run("ensemble", "check", "--annotations", str(path), str(fused), expect=True, named=fused.name)
        return trial

    drawn = st.tuples(json_mutants.mutants(material.annotations), _options(*LENIENT))
    return Kind("annotations", "annotation files", drawn, attempt)


def results_files(material: Material) -> Kind:
    """Mutated results files, given to every command that reads one."""
    truth = ("--annotations", str(material.folder / "annotations.json"))
    other = material.folder / "results.json"

    def attempt(drawn: tuple[json_mutants.Mutant, tuple[str, ...], bool, bool], folder: Path) -> Trial:
        mutant, options, is_alone, is_tuned = drawn
        path = folder / "broken.json"
        path.write_bytes(json_mutants.applied(material.results, mutant))
        trial = Trial(f"{mutant} {' '.join(options)}", folder, path.name)
        trial.run("ensemble", "check", *truth, str(path))
        trial.run("datasets", "evaluate", *truth, "--results", str(path))
        files = ("--results", str(path), *(() if is_alone else ("--results", str(other))))
        fused = folder / "fused.json"
        good = trial.run("ensemble", "fuse", *truth, *files, *options, "--output", str(fused), outputs=(fused.name,))
        if good:
            if problem := _is_no_submission(fused):
                trial.blame(("ensemble", "fuse"), Offence("output", problem))
            written = options if "--format" in options else ()
            trial.run("ensemble", "check", *truth, *written, str(fused), expect=True, named=fused.name)
        if is_tuned:
            recipe = folder / "tuned.yaml"
            trusted = tuple(option for option in options if option == "--trust")
            trial.run("ensemble", "tune", *truth, *files, *trusted, "--output", str(recipe), outputs=(recipe.name,))
        return trial

    drawn = st.tuples(
        json_mutants.mutants(material.results),
        st.sampled_from([(), (), ("--trust",), ("--format", "vipriors"), ("--categories", "contiguous0")]),
        st.booleans(),
        st.sampled_from([True, False, False, False]),
    )
    return Kind("results", "results files", drawn, attempt)


def _is_no_submission(path: Path) -> str:
    """What is wrong with a file that servers are to read: JSON without NaN, records with COCO's keys."""

    def refuse(text: str) -> float:
        raise ValueError(f"{text} is no JSON")

    try:
        records = json.loads(path.read_bytes(), parse_constant=refuse)
        boxes = np.array([[*item["bbox"], item["score"], item["category_id"]] for item in records] or [[0.0] * 6])
    except (ValueError, TypeError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if boxes.shape[1:] == (6,) and np.isfinite(boxes.astype(float)).all() else "a number that is not finite"


def picture_files(material: Material) -> Kind:
    """Mutated pictures beside good ones, given to every command that decodes one."""
    broken = material.annotations["images"][0]
    size = broken["height"], broken["width"]
    plain = np.random.default_rng(1).integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), dtype=np.uint8)
    picture = plain.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]
    bases = picture_mutants.bases(np.ascontiguousarray(picture))

    # Records without a size, which is then the file's own: also one that is a lie, or enormous.
    unsized = material.folder / "unsized.json"
    records = [
        {key: image[key] for key in image if key not in ("width", "height")} for image in material.annotations["images"]
    ]
    unsized.write_text(json.dumps({**material.annotations, "images": records}))

    def attempt(drawn: tuple[picture_mutants.Mutant, tuple[str, ...], bool, bool], folder: Path) -> Trial:
        mutant, options, is_thorough, is_unsized = drawn
        images = folder / "images"
        shutil.copytree(material.images, images)
        path = images / broken["file_name"]
        path.unlink()
        picture_mutants.write(path, bases, mutant)
        trial = Trial(f"{mutant} {' '.join(options)}", folder, path.name, _MASK_SIZE)
        # Where sizes are missing, --strict refuses before it looks at a picture.
        listed = unsized if is_unsized and "--strict" not in options else material.folder / "annotations.json"
        inputs = ("--annotations", str(listed), "--images", str(images), *options)
        good = trial.run("datasets", "check", *inputs, *(("--thorough",) if is_thorough else ()))
        decoded = is_thorough or "--skip-bad" in options
        build = ("augment", "build", *inputs, "--workers", "1", "--output", str(folder / "out"))
        if trial.run(*build, outputs=("out",), expect=good and decoded):
            trial.run("augment", "verify", str(folder / "out"), "--workers", "1", expect=True, named="out")
        return trial

    options = _options("--skip-bad", "--clip-boxes", "--strict", "--follow-links")
    drawn = st.tuples(picture_mutants.mutants(bases), options, st.booleans(), st.booleans())
    return Kind("pictures", "pictures", drawn, attempt)


KINDS: dict[str, Callable[[Material], Kind]] = {
    "annotations": annotation_files,
    "results": results_files,
    "pictures": picture_files,
}
