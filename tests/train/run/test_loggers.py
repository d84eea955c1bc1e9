"""LOGGERS for real: what W&B, offline, and MLflow, in files, hold of a run, of one that went on, and of none."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import DataError
from datasets.sources import Input
from tests.train.conftest import SMALL, small_config
from train import compat  # noqa: F401 - compat before detectron2
from train.checkpoints import checkpoint
from train.run import fit, loggers
from train.run.loggers import IDS
from train.run.request import Request
from train.run.services import About

ALL = "['tensorboard', 'wandb', 'mlflow']"
# Of the schedule `sample`.
RATE = 0.24


@pytest.fixture(autouse=True, scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing leaves the machine; each service writes into a folder of its own."""
    folder = tmp_path_factory.mktemp("services")
    (folder / "wandb").mkdir()
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(folder / "wandb"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_PROJECT": "tests",
        "MLFLOW_TRACKING_URI": f"file:{folder / 'mlflow'}",
        # MLflow's other stores need a database.
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_EXPERIMENT_NAME": "tests",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield folder


def request(drawn: Input, output: Path, names: str = ALL, *changed: str) -> Request:
    # Seven images in batches of two: epochs end after 3 and 7 iterations.
    settings = ("SOLVER.EPOCHS", "2.0", "SOLVER.CHECKPOINT_PERIOD", "2", "LOGGERS", names, *changed)
    return Request("tiny", drawn, output, "sample", (*SMALL, *settings), validation=drawn, resume=True)


def mlflow_client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient()


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of an offline run: protobuf in a log of LevelDB's format, in blocks of 32 KB."""
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    at, whole = 7, b""  # after the head
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        # A record, or the last part of one.
        if kind in (1, 4):
            record = vars(wandb_internal_pb2)["Record"]()
            record.ParseFromString(whole)
            whole = b""
            yield record


def items(listed: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in listed}


def wandb_files(folder: Path, run_id: str) -> list[Path]:
    return sorted(folder.glob(f"wandb/wandb/offline-run-*-{run_id}/*.wandb"))


def wandb_history(path: Path) -> dict[int, dict[str, float]]:
    rows = [items(record.history.item) for record in wandb_records(path) if record.HasField("history")]
    return {row["_step"]: row for row in rows}


@pytest.fixture(scope="module")
def run(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 7 iterations that was killed before it saved the third, and went on from the second."""
    output = tmp_path_factory.mktemp("runs") / "logged"
    save = checkpoint.save

    def killed(path: Path, content: dict[str, Any]) -> Path:
        if content["iteration"] == 3:
            raise KeyboardInterrupt
        return save(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(request(drawn, output))
    fit.fit(request(drawn, output))
    return output


def lines(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / loggers.METRICS).read_text().splitlines()]


def test_mlflow_has_each_metric_of_a_run_that_went_on_once(run: Path) -> None:
    client, run_id = mlflow_client(), json.loads((run / IDS).read_text())["mlflow"]
    history = client.get_metric_history(run_id, "total_loss")
    # The third was logged before the kill.
    assert [metric.step + 1 for metric in history] == [3, 7]
    assert history[-1].value == lines(run)[-1]["total_loss"]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_mlflow_has_the_parameters_and_the_best_ap(run: Path) -> None:
    client, run_id = mlflow_client(), json.loads((run / IDS).read_text())["mlflow"]
    found = client.get_run(run_id)
    parameters = found.data.params
    assert found.info.run_name == "logged"
    assert (parameters["model"], float(parameters["SOLVER.BASE_LR"])) == ("tiny", RATE)
    assert (parameters["dataset/annotations"], parameters["dataset/images"]) == ("annotations.json", "8")
    assert "OUTPUT_DIR" not in parameters
    best = checkpoint.read(run / checkpoint.LAST).content["best"]
    assert (found.data.metrics["best/epoch"], found.data.metrics["best/ap"]) == (best[0], 100 * best[1])
    assert client.get_experiment(found.info.experiment_id).name == "tests"


def test_wandb_continues_the_run_by_its_id(run: Path, alone: Path) -> None:
    first, second = wandb_files(alone, json.loads((run / IDS).read_text())["wandb"])
    assert [step + 1 for step in wandb_history(first)] == [3]
    # Offline, it does not know what the first part has.
    assert [step + 1 for step in wandb_history(second)] == [3, 7]
    for line in lines(run):
        row = wandb_history(second)[int(line.pop("iteration"))]
        assert {key: row[key] for key in line} == line


def test_wandb_has_the_parameters(run: Path, alone: Path) -> None:
    first, _ = wandb_files(alone, json.loads((run / IDS).read_text())["wandb"])
    (record,) = (record.run for record in wandb_records(first) if record.HasField("run"))
    found = items(record.config.update)
    assert (record.project, record.display_name) == ("tests", "logged")
    assert (found["model"], found["SOLVER.BASE_LR"], found["dataset/images"]) == ("tiny", RATE, 8)


def test_without_loggers_there_is_metrics_json(drawn: Input, tmp_path: Path) -> None:
    fit.fit(request(drawn, tmp_path, "[]", "SOLVER.MAX_ITER", "1"))
    assert len(lines(tmp_path)) == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in names if name.startswith("events.") or name == IDS]


def test_all_that_are_not_installed_are_named_before_anything_is_read(
    drawn: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {
        name: (f"no_{name}", package) for name, (_, package) in loggers.INSTALLED.items() if name != "tensorboard"
    }
    monkeypatch.setattr(loggers, "INSTALLED", {**loggers.INSTALLED, **absent})
    with pytest.raises(DataError) as caught:
        fit.fit(request(drawn, tmp_path / "run"))
    assert str(caught.value) == (
        "LOGGERS: expected loggers that are installed\n"
        "  wandb: not installed here; pip install wandb\n"
        "  mlflow: not installed here; pip install mlflow"
    )
    assert not (tmp_path / "run").exists()


def test_a_folder_that_wandb_wrote_is_not_taken_for_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not loggers._is_installed("no_wandb")
    assert loggers._is_installed("json")


def test_a_new_run_needs_its_services_and_one_that_goes_on_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        name = "mlflow"
        where = ""

        def open(self, *_: Any) -> str:
            raise ConnectionError("connection refused\n  and more")

    monkeypatch.setattr(loggers, "_service", lambda _: Away())
    about, said = About(tmp_path, {}), list[str]()
    with pytest.raises(DataError) as caught:
        loggers.writers(["mlflow"], about, 0, said.append)
    assert str(caught.value) == (
        "LOGGERS: expected services that take a run, found mlflow: connection refused\n"
        "Mend that, or leave mlflow out of LOGGERS; metrics.json is written in any case."
    )
    (only,) = loggers.writers(["mlflow"], about, 20, said.append)
    only.close()
    assert said == [
        "warning: mlflow: connection refused; this part of the run is not logged there, and metrics.json has everything"
    ]
    assert not (tmp_path / IDS).exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"wandb": 1}', "\0"])
def test_ids_that_are_none_are_refused_by_their_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / IDS
    assert loggers.read_ids(path) == {}
    path.write_text('{"wandb": "ab12"}')
    assert loggers.read_ids(path) == {"wandb": "ab12"}
    path.write_text(text)
    with pytest.raises(DataError, match=rf"^{path}: expected the ids of this run in services: "):
        loggers.read_ids(path)


def test_parameters_are_the_keys_that_are_obeyed() -> None:
    found = loggers.about(Path("run"), "tiny", {"images": 8}, small_config()).parameters
    assert (found["model"], found["dataset/images"], found["SOLVER.LR_SCHEDULE"]) == ("tiny", 8, "steps")
    assert "SOLVER.LR_SCHEDULER_NAME" not in found
