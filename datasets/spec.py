"""Data by name: the YAML files in datasets/specs/ say where a dataset's annotation files and images are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from datasets.errors import DataError
from datasets.sources import Input

SPECS = Path(__file__).parent / "specs"

SplitName = Literal["train", "val", "test"]


class Split(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    annotations: str
    images: str


class Spec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Paths are relative to the file's own folder. `compile` names the splits that augment turns into one dataset.

    `about` says what the data is and where to get it; it is shown when files are missing.
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
    """Names of the data that this project describes."""
    return sorted(path.stem for path in SPECS.glob("*.yaml"))


def find(name_or_path: str) -> Path:
    """The file of a name, or a path as it is. Raises DataError where there is neither."""
    path = SPECS / f"{name_or_path}.yaml" if name_or_path in shipped() else Path(name_or_path)
    if not path.is_file():
        raise DataError(f"{name_or_path}: expected a YAML file or one of {', '.join(shipped())}, found neither")
    return path


def load(path: Path) -> Spec:
    """Raises DataError naming the key and what is allowed."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Spec, strict=True)
    except msgspec.ValidationError as error:
        allowed = "about, train, val, test, compile; in a split: annotations, images"
        raise DataError(f"{path}: {error}; allowed are {allowed}") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        # ValueError: bytes that are no text, and what looks like a date and is none.
        raise DataError(f"{path}: not readable as YAML: {error}") from None


def compiled_inputs(name_or_path: str) -> list[Input]:
    """The splits to compile. Raises DataError, with what to download, where a file or folder is missing."""
    path = find(name_or_path)
    return _inputs(path, load(path), load(path).compile)


def split_input(name_or_path: str, name: SplitName) -> Input:
    """One split. Raises DataError where there is none of that name, or a file or folder of it is missing."""
    path = find(name_or_path)
    return _inputs(path, load(path), (name,))[0]


def input_of(annotations: Path | None, images: Path | None, data: str | None, split: str) -> Input:
    """What a command line names: an annotation file with its images, or a split of data by name.

    Raises click.UsageError for both or neither.
    """
    import click

    if data is not None and annotations is None and images is None:
        return split_input(data, msgspec.convert(split, SplitName))
    if data is None and annotations is not None and images is not None:
        return Input(annotations, images)
    raise click.UsageError("give either --annotations and --images, or --data")


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
