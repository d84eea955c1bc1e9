"""Where a run's metrics go: metrics.json always, and what LOGGERS names (see `services` for W&B and MLflow)."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from datasets.errors import DataError
from train import compat, config, config_keys  # noqa: F401 - compat before detectron2
from train.run.services import About, Service, ServiceWriter, first_line

# isort: split
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter

METRICS = "metrics.json"
# Of each service, the id of the run that this one is there.
IDS = "loggers.json"
# Logger -> its module, and how to install it.
INSTALLED: Mapping[str, tuple[str, str]] = {
    "tensorboard": ("tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
    "mlflow": ("mlflow", "mlflow"),
}


def check(names: Sequence[str]) -> None:
    """Raises DataError, naming every one, for loggers that are not installed."""
    missing = [name for name in names if not _is_installed(INSTALLED[name][0])]
    if missing:
        raise DataError(
            "LOGGERS: expected loggers that are installed",
            [f"{name}: not installed here; pip install {INSTALLED[name][1]}" for name in missing],
        )


def _is_installed(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    # A folder of this name, such as W&B writes, is found as a package without a file.
    return spec is not None and spec.origin is not None


def about(folder: Path, model: str, identity: Mapping[str, Any], cfg: Any) -> About:
    """The run's parameters: its model, the identity of its dataset, and all obeyed keys of its configuration."""
    keys = {key: value for key, value in config.flat(cfg).items() if not config_keys.remedy(key)}
    data = {f"dataset/{key}": value for key, value in identity.items()}
    return About(folder, {"model": model, **data, **keys})


def writers(names: Sequence[str], about: About, start: int, say: Callable[[str], None]) -> list[EventWriter]:
    """Writers of a run that begins or continues at iteration `start`; `say` prints a line.

    Raises DataError where a new run's service cannot be reached; a run that continues is warned of it, and goes on.
    """
    drop_metrics_after(about.folder / METRICS, start)
    found: list[EventWriter] = [JSONWriter(str(about.folder / METRICS))]
    if "tensorboard" in names:
        found.append(TensorboardXWriter(str(about.folder), purge_step=start))
    try:
        found.extend(_service_writers([name for name in names if name != "tensorboard"], about, start, say))
    except DataError:
        for writer in found:
            writer.close()
        raise
    return found


def _service_writers(
    names: Sequence[str], about: About, start: int, say: Callable[[str], None]
) -> Iterator[ServiceWriter]:
    """Those that can be reached; each one's id is kept, for a run that continues."""
    path = about.folder / IDS
    ids = read_ids(path) if start else {}
    for name in names:
        writer = _service_writer(name, about, ids.get(name), say, is_new=not start)
        if writer is not None:
            ids[name] = writer.run_id
            _write(path, json.dumps(ids))
            yield writer


def _service_writer(
    name: str, about: About, run_id: str | None, say: Callable[[str], None], *, is_new: bool
) -> ServiceWriter | None:
    try:
        return ServiceWriter(_service(name), about, run_id, say)
    except Exception as error:  # whatever the service raises
        text = f"{name}: {first_line(error)}"
        if is_new:
            raise DataError(
                f"LOGGERS: expected services that take a run, found {text}\n"
                f"Mend that, or leave {name} out of LOGGERS; metrics.json is written in any case."
            ) from None
        say(f"warning: {text}; this part of the run is not logged there, and metrics.json has everything")
        return None


def _service(name: str) -> Service:
    if name == "wandb":
        from train.run.wandb_service import WandB

        return WandB()
    from train.run.mlflow_service import MLflow

    return MLflow()


def read_ids(path: Path) -> dict[str, str]:
    """Logger -> id of this run there. Raises DataError for another file."""
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path}: expected the ids of this run in services: {error}; without this file, it continues in new runs"
        ) from None


def drop_metrics_after(path: Path, iteration: int) -> None:
    """Remove the metrics that an interrupted run wrote after its last checkpoint."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if _iteration_of(line) < iteration]
    if kept != lines:
        _write(path, "".join(kept))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _iteration_of(line: str) -> float:
    # An incomplete last line, left by a killed run; without a line end, the next one would be appended to it.
    if not line.endswith("\n"):
        return math.inf
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return math.inf
