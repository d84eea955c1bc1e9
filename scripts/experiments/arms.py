"""The YAML files of an experiment: its arms, each the difference from another, and the settings for a kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
import yaml

from datasets import yaml_files
from datasets.errors import DataError
from train.config import CONFIGS, SCHEDULES, read_yaml

RECIPES = Path(__file__).resolve().parents[2] / "augment" / "recipes"
ORIGINAL = "original"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Tree = dict[str, Any]
Kind = TypeVar("Kind")


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The paper's AP, in percent, and the images it was measured on."""

    ap: float
    split: Literal["val", "test"]


class Predict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `python -m train predict`, and keys of the configuration that it alone changes; omitted ones are
    inherited. `ema` is whether it takes the moving average of weights where a training keeps one, as it does by itself;
    `part` names keys that the settings define.
    """

    raw: bool | None = None
    tta: bool | None = None
    ema: bool | None = None
    config: Tree = {}
    part: str | None = None


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The differences from the arm `base`, or from the arm before.

    `data` is what it trains on: "original", the name of a recipe, or a recipe itself; `online` whether each epoch draws
    variants of that recipe itself, in place of a compiled dataset. `config` has Detectron2's keys, `part` names further
    ones that the settings define, `ensemble` the keys of an ensemble recipe, `fuse` the arms whose models are fused. An
    arm with nothing but `predict`, `ensemble` and `fuse` trains nothing. The one with `headline` is what a page is
    about.
    """

    about: str
    base: str | None = None
    section: str = ""
    paper: Paper | None = None
    data: str | Tree | None = None
    online: bool | None = None
    config: Tree = {}
    part: str | None = None
    predict: Predict = Predict()
    ensemble: Tree = {}
    fuse: tuple[str, ...] = ()
    headline: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the arms run on a kind of data: the model and schedule to start from (names in train/configs/) with `config`
    over them; iterations of a training, and from some arm on; the arms' `part`s, as what depends on the size of images.

    Each arm is trained on each number of `images` (0 for all) of which there are as many, for each of `lengths` times
    its iterations.
    """

    about: str
    model: str
    schedule: str
    iterations: Positive
    iterations_from: dict[str, Positive] = {}
    config: Tree = {}
    parts: dict[str, Tree] = {}
    images: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] = (0,)
    lengths: tuple[Positive, ...] = (1,)


class Recipe(NamedTuple):
    """What `augment` makes of the training images; `shipped` where `name` alone tells it."""

    name: str
    text: str
    shipped: bool


class Composed(NamedTuple):
    """An arm merged with all that it is based on. `config` still lacks its iterations; `recipe` is None for the
    original images.
    """

    folder: str
    name: str
    arm: Arm
    base: str
    config: Tree
    recipe: Recipe | None
    online: bool
    iterations: int
    raw: bool
    tta: bool
    ema: bool
    predict_config: Tree
    ensemble: Tree
    trains: bool


def load_arms(folder: Path) -> dict[str, Arm]:
    """File stem -> arm, in the order of the names. Raises DataError naming the file and the key."""
    return {path.stem: _typed(path, Arm) for path in sorted(folder.glob("*.yaml"))}


def find_settings(name_or_path: str, folder: Path) -> Settings:
    """Settings by name or file. Raises DataError where there are none such."""
    return _typed(yaml_files.find(name_or_path, folder, option="--settings"), Settings)


def base_of(settings: Settings) -> Tree:
    """The configuration of the first arm: model, schedule, settings."""
    model = read_yaml(yaml_files.find(settings.model, CONFIGS, option="settings: model"))
    schedule = read_yaml(yaml_files.find(settings.schedule, SCHEDULES, option="settings: schedule"))
    return merged(merged(model, schedule), settings.config)


def name_of(folder: str) -> str:
    """`04-scratch` -> `scratch`."""
    return folder.partition("-")[2] or folder


def compose(arms: dict[str, Arm], settings: Settings, base: Tree) -> list[Composed]:
    """Every arm merged with those that it is based on. Raises DataError, naming arm and key, where they do not fit."""
    _check(arms, settings)
    found: dict[str, Composed] = {}
    below = _nothing(base, settings.iterations)
    for folder, arm in arms.items():
        below = _composed(folder, arm, found[arm.base] if arm.base else below, settings)
        found[below.name] = below
    return list(found.values())


def _nothing(config: Tree, iterations: int) -> Composed:
    """What the first arm differs from."""
    return Composed(
        folder="",
        name="",
        arm=Arm(about=""),
        base="",
        config=config,
        recipe=None,
        online=False,
        iterations=iterations,
        raw=False,
        tta=False,
        ema=True,
        predict_config={},
        ensemble={},
        trains=False,
    )


def _composed(folder: str, arm: Arm, below: Composed, settings: Settings) -> Composed:
    config = merged(below.config, arm.config)
    if arm.part is not None:
        config = merged(config, settings.parts[arm.part])
    predicted = settings.parts[arm.predict.part] if arm.predict.part is not None else {}
    name = name_of(folder)
    return Composed(
        folder=folder,
        name=name,
        arm=arm,
        base=below.name,
        config=config,
        recipe=below.recipe if arm.data is None else _recipe(arm.data, name),
        online=below.online if arm.online is None else arm.online,
        iterations=settings.iterations_from.get(name, below.iterations),
        raw=below.raw if arm.predict.raw is None else arm.predict.raw,
        tta=below.tta if arm.predict.tta is None else arm.predict.tta,
        ema=below.ema if arm.predict.ema is None else arm.predict.ema,
        predict_config=merged(merged(below.predict_config, predicted), arm.predict.config),
        ensemble=merged(below.ensemble, arm.ensemble),
        trains=bool(arm.config or arm.part or arm.data or arm.online is not None) or not below.name,
    )


def _recipe(data: str | Tree, name: str) -> Recipe | None:
    if data == ORIGINAL:
        return None
    if isinstance(data, str):
        return Recipe(data, (RECIPES / f"{data}.yaml").read_text(encoding="utf-8"), shipped=True)
    return Recipe(name, yaml.safe_dump({"name": name, **data}, sort_keys=False), shipped=False)


def _check(arms: dict[str, Arm], settings: Settings) -> None:
    problems = []
    before: list[str] = []
    for folder, arm in arms.items():
        problems += [f"{folder}: {text}" for text in _problems(arm, settings, before)]
        before.append(name_of(folder))
    problems += [
        f"settings: iterations_from: expected one of {', '.join(before)}, found {name!r}"
        for name in settings.iterations_from
        if name not in before
    ]
    if problems or not arms:
        raise DataError("the arms do not fit together" if arms else "expected arms, found none", problems)


def _problems(arm: Arm, settings: Settings, before: list[str]) -> list[str]:
    expected = f"expected one before it ({', '.join(before) or 'none'})"
    problems = []
    if arm.base is not None and arm.base not in before:
        problems.append(f"base: {expected}, found {arm.base!r}")
    parts = ", ".join(settings.parts) or "none"
    for key, part in (("part", arm.part), ("predict: part", arm.predict.part)):
        if part is not None and part not in settings.parts:
            problems.append(f"{key}: expected one of the settings' parts ({parts}), found {part!r}")
    known = (ORIGINAL, *yaml_files.shipped(RECIPES))
    if isinstance(arm.data, str) and arm.data not in known:
        problems.append(f"data: expected one of {', '.join(known)}, or a recipe's keys, found {arm.data!r}")
    problems += [f"fuse: {expected}, found {name!r}" for name in arm.fuse if name not in before]
    if arm.fuse and not arm.ensemble:
        problems.append("ensemble: expected how to fuse, found nothing")
    return problems


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
