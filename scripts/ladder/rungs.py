"""The ladder's YAML files: rungs, each the difference from the one before, and settings for a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec

from datasets import yaml_files
from datasets.errors import DataError
from train.config import CONFIGS, SCHEDULES, read_yaml

RUNGS = Path(__file__).parent / "rungs"
SETTINGS = Path(__file__).parent / "settings"
# Data at least as large as the paper's.
SETTINGS_OF = {"sample": "sample", "vipriors": "paper", "coco-small": "paper"}

DataName = Literal["original", "balanced", "expanded"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Tree = dict[str, Any]
Kind = TypeVar("Kind")


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The paper's AP, in percent, and the images it was measured on."""

    ap: float
    split: Literal["val", "test"]


class Predict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `python -m train predict`; omitted ones are inherited."""

    raw: bool | None = None
    tta: bool | None = None


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The differences from the rung before.

    `config` has Detectron2's keys, `part` names further ones that the settings define, `ensemble` the keys of an
    ensemble recipe, `fuse` the rungs whose models are fused. A rung with none of the first three trains nothing.
    """

    about: str
    section: str
    paper: Paper | None = None
    data: DataName | None = None
    config: Tree = {}
    part: str | None = None
    predict: Predict = Predict()
    ensemble: Tree = {}
    fuse: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the ladder runs on a kind of data: the model and schedule to start from (names in train/configs/) with
    `config` over them; iterations of a training, and from some rung on; the rungs' `part`s.
    """

    about: str
    model: str
    schedule: str
    iterations: Positive
    iterations_from: dict[str, Positive] = {}
    config: Tree = {}
    parts: dict[str, Tree] = {}


class Composed(NamedTuple):
    """A rung merged with all before it. `config` still lacks its iterations."""

    folder: str
    name: str
    rung: Rung
    config: Tree
    data: DataName
    iterations: int
    raw: bool
    tta: bool
    ensemble: Tree
    trains: bool


def load_rungs(folder: Path = RUNGS) -> dict[str, Rung]:
    """File stem -> rung, in the order of the names. Raises DataError naming the file and the key."""
    return {path.stem: _typed(path, Rung) for path in sorted(folder.glob("*.yaml"))}


def find_settings(name_or_path: str | None, data: str) -> tuple[str, Settings]:
    """Settings by name or file, or those for the data of that name. Raises DataError where there are none such."""
    chosen = SETTINGS_OF.get(data, "small") if name_or_path is None else name_or_path
    path = yaml_files.find(chosen, SETTINGS, option="--settings")
    return chosen, _typed(path, Settings)


def base_of(settings: Settings) -> Tree:
    """The configuration of the first rung: model, schedule, settings."""
    model = read_yaml(yaml_files.find(settings.model, CONFIGS, option="settings: model"))
    schedule = read_yaml(yaml_files.find(settings.schedule, SCHEDULES, option="settings: schedule"))
    return merged(merged(model, schedule), settings.config)


def name_of(folder: str) -> str:
    """`04-scratch` -> `scratch`."""
    return folder.partition("-")[2] or folder


def compose(rungs: dict[str, Rung], settings: Settings, base: Tree) -> list[Composed]:
    """Every rung merged with those before it. Raises DataError, naming rung and key, where they do not fit."""
    _check(rungs, settings)
    found: list[Composed] = []
    config, iterations, ensemble = base, settings.iterations, Tree()
    data: DataName = "original"
    raw = tta = False
    for folder, rung in rungs.items():
        config = merged(config, rung.config)
        if rung.part is not None:
            config = merged(config, settings.parts[rung.part])
        data = rung.data or data
        iterations = settings.iterations_from.get(name_of(folder), iterations)
        raw = raw if rung.predict.raw is None else rung.predict.raw
        tta = tta if rung.predict.tta is None else rung.predict.tta
        ensemble = merged(ensemble, rung.ensemble)
        trains = bool(rung.config or rung.part or rung.data)
        found.append(Composed(folder, name_of(folder), rung, config, data, iterations, raw, tta, ensemble, trains))
    return found


def _check(rungs: dict[str, Rung], settings: Settings) -> None:
    problems = []
    before: list[str] = []
    for folder, rung in rungs.items():
        if rung.part is not None and rung.part not in settings.parts:
            known = ", ".join(settings.parts) or "none"
            problems.append(f"{folder}: part: expected one of the settings' parts ({known}), found {rung.part!r}")
        problems += [
            f"{folder}: fuse: expected rungs before it ({', '.join(before)}), found {name!r}"
            for name in rung.fuse
            if name not in before
        ]
        if rung.fuse and not rung.ensemble:
            problems.append(f"{folder}: ensemble: expected how to fuse, found nothing")
        before.append(name_of(folder))
    problems += [
        f"settings: iterations_from: expected rungs ({', '.join(before)}), found {name!r}"
        for name in settings.iterations_from
        if name not in before
    ]
    if problems or not rungs:
        raise DataError("the ladder's rungs do not fit together" if rungs else "expected rungs, found none", problems)


def merged(lower: Tree, upper: Tree) -> Tree:
    """Merged copies, with `upper`'s value where both have one."""
    return lower | {
        key: merged(lower[key], value) if isinstance(value, dict) and isinstance(lower.get(key), dict) else value
        for key, value in upper.items()
    }


def _typed(path: Path, kind: type[Kind]) -> Kind:
    """A file merged over those that it names as `_BASE_`."""
    try:
        return msgspec.convert(read_yaml(path), kind, strict=True)
    except msgspec.ValidationError as error:
        keys = ", ".join(field.name for field in msgspec.structs.fields(kind))  # type: ignore[arg-type]
        raise DataError(f"{path}: {error}; allowed are {keys}") from None
