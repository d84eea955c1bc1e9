"""scripts/experiments: what counts as finished, and what the page says of the machines and versions that made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datasets import provenance
from datasets.coco import read
from datasets.parallel import cores
from datasets.sources import Input
from scripts.experiments import job_result, splits
from scripts.experiments.arms import Recipe
from scripts.experiments.environment import Environment, Gpu, visible
from scripts.experiments.job_result import JobResult, Outcome
from scripts.experiments.jobs import Data, Job, Originals, data_job
from scripts.experiments.made_with import different
from scripts.experiments.numbers import METRICS
from scripts.ladder.footnotes import About, notes

BALANCED = Recipe("balanced", "text", shipped=True)
MADE = Environment(machine="2 CPU cores", versions={"scarcedet": "0", "torch": "1"}, commit="abc", jobs=2)
BUILT = Outcome({"images": 8, "with_objects": 7}, digest="sums")
MEASURED = Outcome({**dict.fromkeys(METRICS, 0.25), "images": 8, "images_seen_in_training": 3})
TRAINED = Outcome({"iterations": 2, "images": 7, "batch": 2, "parameters": 9, "seconds": 1.5})


def job_of(step: Any) -> Job:
    return Job(step, "01-bn", "seed 0", "identity", "01-bn/seed0", (), (), {}, {})


def written(folder: Path, job: Job, outcome: Outcome, output: str | None = None) -> JobResult | None:
    place = folder / job.folder
    place.mkdir(parents=True, exist_ok=True)
    if output:
        (place / output).parent.mkdir(exist_ok=True)
        (place / output).touch()
    job_result.write(folder, job, outcome, 3.14159, MADE)
    return job_result.read(folder, job)


def test_a_finished_job_is_known_by_its_identity(tmp_path: Path) -> None:
    job = data_job(BALANCED, Originals(Input(Path("a.json"), Path("a")), "source", 0), "", "0")
    assert job_result.read(tmp_path, job) is None
    found = written(tmp_path, job, BUILT)
    assert found is not None
    assert (found.built(), found.seconds, found.environment) == (splits.Built("sums", 8, 7), 3.142, MADE)
    assert job_result.read(tmp_path, job._replace(identity="f" * 64)) is None


def test_results_that_are_gone_are_not_finished_and_data_and_checkpoints_are_where_nothing_needs_them(
    tmp_path: Path,
) -> None:
    assert written(tmp_path, job_of("predict"), MEASURED) is None
    assert written(tmp_path, job_of("predict"), MEASURED, "results.json") is not None
    for step, outcome, output in (("train", TRAINED, "model_last.pth"), ("data", BUILT, "dataset/manifest.json")):
        assert written(tmp_path, job_of(step), outcome) is not None
        assert not job_result.has_output(tmp_path, job_of(step))
        assert written(tmp_path, job_of(step), outcome, output) is not None
        assert job_result.has_output(tmp_path, job_of(step))


def test_the_name_of_the_checkpoint_is_that_of_fit() -> None:
    from train.checkpoints import checkpoint

    assert job_result.CHECKPOINT == checkpoint.LAST


def test_a_training_that_is_run_again_finds_nothing_of_the_first(tmp_path: Path) -> None:
    job = job_of("train")
    written(tmp_path, job, TRAINED, "model_last.pth")
    (tmp_path / job.folder / "model_epoch_0001.pth").touch()
    job_result.make_way(tmp_path, job)
    assert job_result.read(tmp_path, job) is not None, "its checkpoint is there: it goes on from it"
    (tmp_path / job.folder / "model_last.pth").unlink()
    job_result.make_way(tmp_path, job)
    assert list((tmp_path / job.folder).iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:30],
        lambda _: b"[" * 100_000,
        lambda text: b'{"more": ' + b'{"":' * 100_000 + text,
        lambda text: text.replace(b"abc", b"\xff"),
        lambda text: text.replace(b'"ap":', b'"else":'),
        lambda text: text.replace(b'"ap": 0.25', b'"ap": "0.25"'),
        lambda text: text.replace(b'"images": 8', b'"images": null'),
        lambda text: text.replace(b'"made":', b'"else":'),
    ],
)
def test_a_job_json_that_is_damaged_is_that_of_no_finished_job(damage: Any, tmp_path: Path) -> None:
    job = job_of("fuse")
    assert written(tmp_path, job, MEASURED, "results.json") is not None
    path = tmp_path / job.folder / "job.json"
    path.write_bytes(damage(path.read_bytes()))
    assert job_result.read(tmp_path, job) is None


def test_results_that_say_nothing_of_their_training_are_in_doubt(drawn: Input, tmp_path: Path) -> None:
    job = job_of("predict")
    place = tmp_path / job.folder
    place.mkdir(parents=True)
    (place / "results.json").write_text("[]")
    truth = read(drawn.annotations).dataset
    outcome = job_result.outcome_of(tmp_path, job, truth)
    assert outcome.result["images"] == len(truth.images)
    assert (outcome.result["images_seen_in_training"], outcome.doubt) == (0, "no results.provenance.json")
    assert provenance.read(place / "results.json").doubt == outcome.doubt


def test_the_time_of_a_training_is_that_of_its_steps(tmp_path: Path) -> None:
    lines = [{"iteration": 19, "time": 0.5}, {"iteration": 39, "time": 0.25}, {"iteration": 41, "time": 1.0}]
    (tmp_path / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert job_result.seconds_of_steps(tmp_path / "metrics.json") == 20 * 0.5 + 20 * 0.25 + 2 * 1.0


def test_data_that_was_removed_is_known_by_what_was_written_down(drawn: Input, tmp_path: Path) -> None:
    train = splits.Split(drawn, read(drawn.annotations).dataset, "split")
    originals = Originals(drawn, "split", 0, name="mine")
    job = data_job(BALANCED, originals, "", "0")
    place = ("--data", str(tmp_path / job.folder / "dataset"))
    key = splits.DataKey("balanced", 0, 0)
    plan = splits.DataPlan({job.identity: job}, {key._replace(recipe=""): originals}, {key: job})

    def found(built: dict[str, splits.Built], *, keep_empty: bool = False) -> Data:
        return splits.training_data(train, plan, tmp_path, built, keep_empty=keep_empty)[key]

    built = {job.identity: splits.Built("sums", 8, 7)}
    assert found(built) == Data(place, "sums", 7, (job.identity,))
    assert found(built, keep_empty=True).images == 8
    assert found({}) == Data(place, f"of {job.identity}", 1, (job.identity,))


def test_an_image_that_changed_is_noticed_where_its_size_did_not(drawn: Input, tmp_path: Path) -> None:
    shutil.copytree(drawn.images, tmp_path / "images")
    split = f"{{annotations: {drawn.annotations}, images: images}}"
    (tmp_path / "mine.yaml").write_text(f"about: mine\ntrain: {split}\n")

    def digest() -> str:
        return splits.read_split(str(tmp_path / "mine.yaml"), "train").digest

    before = digest()
    assert digest() == before
    path = tmp_path / "images" / read(drawn.annotations).dataset.images[0].file_name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert digest() != before


GPUS = [Gpu("0", "GPU-aa11", "A"), Gpu("1", "GPU-ab22", "B")]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["A", "B"]),
        ("", []),
        ("1", ["B"]),
        ("1, 0", ["B", "A"]),
        ("GPU-ab", ["B"]),
        ("GPU-a", []),
        ("0,-1,1", ["A"]),
        ("7", []),
        ("MIG-cc33", ["a MIG device"]),
    ],
)
def test_gpus_are_those_that_cuda_sees(wanted: str | None, names: list[str]) -> None:
    assert visible(GPUS, wanted) == names


def test_cores_are_counted_where_the_system_does_not_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert cores() >= 1


def test_the_notes_name_everything_that_the_numbers_were_made_with() -> None:
    other = Environment(machine="1 x H100", versions={"scarcedet": "0", "torch": "2"}, commit="", jobs=1)
    about = About(
        data="mine",
        train_images=5873,
        val_images=4946,
        settings="paper",
        settings_about="the paper's",
        seeds=[0],
        iterations={"bn": 90000, "gn": 90000, "deeper": 227199},
        batch=16,
        on_test={"expanded": 25.2, "deeper": 29.9},
        raw=["soft-nms", "tta"],
        command="python -m scripts.ladder",
        made_with=different([MADE, other, MADE]),
    )
    text = "\n".join(notes(about))
    assert "machine 1 x H100; 2 CPU cores. Versions: scarcedet 0, torch 1; scarcedet 0, torch 2." in text
    assert "Commit: abc; none, no checkout. Commands at a time: 1; 2." in text
    assert "Iterations: 90,000 for bn, gn; 227,199 for deeper; batch 16." in text
    assert "The paper's 25.2 (expanded) and 29.9 (deeper) are not comparable" in text
    assert "What that gains alone counts as the gain of soft-nms." in text
    nothing = about._replace(made_with=different([]))
    assert "machine -. Versions: -." in "\n".join(notes(nothing))
