"""Data by name: the YAML files in datasets/specs/ say where annotation files and images are, split by split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from datasets import yaml_files
from datasets.build_layout import IMAGES, INSTANCES
from datasets.errors import DataError
from datasets.sources import Input

SPECS = Path(__file__).parent / "specs"

SplitName = Literal["train", "val", "test"]


class Split(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    annotations: str
    images: str


class Spec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A description of data. Paths are relative to the file's folder.

    `compile` names the splits that augment turns into one dataset. `about` says what the data is and where to get it;
    it is shown when files are missing.
    """

    about: str
    train: Split
    val: Split | None = None
    test: Split | None = None
    compile: tuple[SplitName, ...] = ("train",)

    def __post_init__(self) -> None:
        if not self.compile:
            raise ValueError("compile: expected at least one of train, val, test, found none")
        for name in self.compile:
            if getattr(self, name) is None:
                raise ValueError(f"compile: expected splits that the file describes, found {name!r}")


def shipped() -> list[str]:
    """Names of the specs that ship."""
    return yaml_files.shipped(SPECS)


def find(name_or_path: str, *, option: str = "--data") -> Path:
    """The file of a shipped spec, or the path as it is. Raises DataError, naming the `option`, where there is
    neither.
    """
    return yaml_files.find(name_or_path, SPECS, option=option, also="the folder of a build (`make dataset`), ")


def load(path: Path) -> Spec:
    """A spec from its file. Raises DataError naming the key and what is allowed."""
    try:
        return msgspec.convert(yaml_files.read(path), Spec, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        allowed = "about, train, val, test, compile; in a split: annotations, images"
        raise DataError(f"{path}: {error}; allowed are {allowed}") from None


def input_of(data: str, split: SplitName, *, option: str = "--data") -> Input:
    """One split of a spec, by name or file; or a build, by its folder, which has no splits.

    Raises DataError, naming the `option`, where there is none, or a file or folder of it is missing.
    """
    return inputs_of(data, (split,), option=option)[0]


def inputs_of(data: str, splits: Sequence[SplitName] | None = None, *, option: str = "--data") -> list[Input]:
    """As `input_of` for several splits, by default those that `compile` names."""
    folder = Path(data)
    if data not in shipped() and folder.is_dir():
        return [_build(folder, option)]
    path = find(data, option=option)
    spec = load(path)
    return _inputs(path, spec, splits or spec.compile)


def _build(folder: Path, option: str) -> Input:
    if not (folder / INSTANCES).is_file():
        raise DataError(
            f"{option} {folder}: expected a dataset that `python -m augment build` made, found no {INSTANCES}"
        )
    return Input(folder / INSTANCES, folder / IMAGES)


def _inputs(path: Path, spec: Spec, names: Iterable[SplitName]) -> list[Input]:
    inputs = []
    missing = []
    for name in names:
        split: Split | None = getattr(spec, name)
        if split is None:
            raise DataError(f"{path}: expected the split {name}, found none")
        item = Input(*((path.parent / part).resolve() for part in (split.annotations, split.images)))
        missing += [f"{name}: {part}" for part in item if not part.exists()]
        inputs.append(item)
    if missing:
        raise DataError(f"{path.stem}: the data is not there. {spec.about.strip()}\nMissing:", missing)
    return inputs
