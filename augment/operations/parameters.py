"""Recipes as typed records: the operations in order, with the parameters of each.

Every value has a default, unknown keys are refused, and the manifest of a build records them all.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import msgspec

from augment.operations.transforms import ALL_TRANSFORMS, COPY_TRANSFORMS, PAPER_TRANSFORMS
from datasets.errors import DataError

Range = tuple[float, float]
"""[low, high], from which a number is drawn uniformly."""
Choice = Literal["rare", "uniform"]
"""How donors are chosen: by a category, each with the weight 1 / sqrt(objects of it), or all alike."""


MOST_VARIANTS = 100
MOST_PASTED = 100
LEAST_UNIT = 0.02


class LabelRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of the crop rule, which keeps, ignores or drops truncated boxes (section 2 of the paper)."""

    min_visible: float = 0.5
    """Visible area / box area from which a truncated box is kept, below which it is ignored. Inclusive."""
    min_area_ratio: float = 0.01
    """Visible area / output image area above which a truncated box is kept or ignored, else dropped. Exclusive."""

    def __post_init__(self) -> None:
        for name in ("min_visible", "min_area_ratio"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, found {value:g}")


def _check_range(name: str, limits: Range, most: float) -> None:
    low, high = limits
    if not (0 < low <= most and 0 < high <= most):
        raise ValueError(f"{name}: expected [low, high] above 0 and up to {most:g}, found [{low:g}, {high:g}]")
    if low > high:
        raise ValueError(f"{name}: expected low <= high, found the empty range [{low:g}, {high:g}]")


def _check_number(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name}: expected {least:g} to {most:g}, found {value:g}")


def _check_transforms(names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError("transforms: expected at least one name, found none")
    unknown = [name for name in names if name not in ALL_TRANSFORMS]
    if unknown:
        raise ValueError(f"transforms: unknown {', '.join(unknown)}; known are {', '.join(ALL_TRANSFORMS)}")


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="operation"):
    """One operation of a recipe; `name` is its name in the dataset's image records."""

    name: ClassVar[str]


class Original(Operation, frozen=True, tag="original"):
    """The source image itself, byte for byte."""

    name: ClassVar[str] = "original"


class Pixel(Operation, frozen=True, tag="pixel"):
    """One pixel transform, drawn uniformly from `transforms`; geometry stays."""

    name: ClassVar[str] = "pixel"
    transforms: tuple[str, ...] = PAPER_TRANSFORMS

    def __post_init__(self) -> None:
        _check_transforms(self.transforms)


class Copy(Operation, frozen=True, tag="copy"):
    """Balance copies: min(max_copies, floor(target / boxes of the rarest category in the image)) of each image.

    The target is `target_boxes`; or the median over the categories of their numbers of boxes, with `target: median`; or
    else `target_fraction` times the number of source images, as in the paper.
    """

    name: ClassVar[str] = "copy"
    max_copies: int = 20
    target_fraction: float = 0.5
    target_boxes: int | None = None
    target: Literal["median"] | None = None
    transforms: tuple[str, ...] = COPY_TRANSFORMS

    def __post_init__(self) -> None:
        _check_transforms(self.transforms)
        _check_number("max_copies", self.max_copies, 1, 1000)
        if not 0 < self.target_fraction <= 1:
            raise ValueError(f"target_fraction: expected a share above 0 and up to 1, found {self.target_fraction:g}")
        if self.target_boxes is not None and self.target_boxes < 1:
            raise ValueError(f"target_boxes: expected at least 1, found {self.target_boxes}")
        if self.target_boxes is not None and self.target is not None:
            raise ValueError(f"target: expected it or target_boxes, found both, {self.target} and {self.target_boxes}")


class Crop(Operation, frozen=True):
    """A window whose short side is a fraction of the image's, drawn uniformly from [low, high]."""

    fraction: Range

    def __post_init__(self) -> None:
        _check_range("fraction", self.fraction, 1)


class CenterCrop(Crop, frozen=True, tag="center_crop"):
    """A crop around the image's centre."""

    name: ClassVar[str] = "center_crop"


class RandomCrop(Crop, frozen=True, tag="random_crop"):
    """A crop at a position drawn uniformly."""

    name: ClassVar[str] = "random_crop"


class Paste(Operation, frozen=True, tag="paste"):
    """Objects of other images, cut out by their masks, on top of the image.

    Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation" (2021).
    """

    name: ClassVar[str] = "paste"
    count: int = 1
    """Variants of each source."""
    objects: tuple[int, int] = (1, 4)
    """[fewest, most] objects pasted into a variant."""
    choose: Choice = "rare"
    scale: Range = (0.5, 1.5)
    """Of an object's size in its own image; limited so that it fits and keeps `min_size`."""
    flip: float = 0.5
    """The share of pasted objects that are mirrored."""
    min_size: int = 16
    """Pixels of the shorter side of a pasted object's box."""
    edge: int = 2
    """Pixels inside an object's outline over which it fades in; 0 for a hard edge."""
    boxes: bool = False
    """Objects without a mask are pasted too, with all that is in their box."""
    optional: bool = False
    """Where no object has a mask there is no variant, in place of an error."""

    def __post_init__(self) -> None:
        _check_number("count", self.count, 1, MOST_VARIANTS)
        fewest, most = self.objects
        if not 1 <= fewest <= most <= MOST_PASTED:
            raise ValueError(f"objects: expected 1 <= fewest <= most <= {MOST_PASTED}, found [{fewest}, {most}]")
        _check_range("scale", self.scale, 10)
        _check_number("flip", self.flip, 0, 1)
        _check_number("min_size", self.min_size, 1, 10_000)
        _check_number("edge", self.edge, 0, 100)


class Mosaic(Operation, frozen=True, tag="mosaic"):
    """Parts of four images, the source's and three others', around a drawn centre, in the source's size."""

    name: ClassVar[str] = "mosaic"
    count: int = 1
    choose: Choice = "rare"
    scale: Range = (0.5, 1.0)
    """Of each image; more where it would not fill its quarter."""
    center: Range = (0.3, 0.7)
    """Where the quarters meet, as a share of the width, and of the height."""

    def __post_init__(self) -> None:
        _check_number("count", self.count, 1, MOST_VARIANTS)
        _check_range("scale", self.scale, 10)
        _check_range("center", self.center, 1)


class Tile(Operation, frozen=True, tag="tile"):
    """All windows of a grid over a large image. One no larger than a tile is one variant, whole and unchanged."""

    name: ClassVar[str] = "tile"
    size: int = 640
    """Pixels of a tile's sides."""
    overlap: float = 0.2
    """The least share of a side that neighbours have in common."""

    def __post_init__(self) -> None:
        _check_number("size", self.size, 16, 65_500)
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap: expected a share from 0 to less than 1, found {self.overlap:g}")


class TurnOver(Operation, frozen=True, tag="turn"):
    """The image mirrored, or turned by a quarter or more, or both: for data seen from above."""

    name: ClassVar[str] = "turn"
    count: int = 1
    """Variants of each source, no two alike."""
    mirror: bool = True
    rotate: bool = True

    def __post_init__(self) -> None:
        possible = (2 if self.mirror else 1) * (4 if self.rotate else 1) - 1
        if not possible:
            raise ValueError("mirror, rotate: expected at least one of them, found neither")
        _check_number("count", self.count, 1, possible)


class Erase(Operation, frozen=True, tag="erase"):
    """Squares in a regular grid are made black. Chen et al., "GridMask data augmentation" (2020)."""

    name: ClassVar[str] = "erase"
    count: int = 1
    unit: Range = (0.2, 0.6)
    """The distance of two squares, as a share of the image's shorter side."""
    kept: float = 0.5
    """The share of that distance which stays between two squares."""

    def __post_init__(self) -> None:
        _check_number("count", self.count, 1, MOST_VARIANTS)
        _check_range("unit", self.unit, 1)
        if self.unit[0] < LEAST_UNIT:
            raise ValueError(f"unit: expected shares of {LEAST_UNIT:g} at least, found {self.unit[0]:g}")
        if not 0 < self.kept < 1:
            raise ValueError(f"kept: expected a share above 0 and below 1, found {self.kept:g}")


AnyOperation = Original | Pixel | Copy | CenterCrop | RandomCrop | Paste | Mosaic | Tile | TurnOver | Erase
KINDS: tuple[type[Operation], ...] = get_args(AnyOperation)
OPERATION_NAMES = tuple(kind.name for kind in KINDS)


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    operations: tuple[AnyOperation, ...]
    seed: int = 0
    jpeg_quality: int = 95
    chroma: Literal["source", 444, 422, 420] = "source"
    """Chroma subsampling of the JPEGs: as the source file has it, or the same for all."""
    labels: LabelRule = LabelRule()

    def __post_init__(self) -> None:
        if not self.operations:
            raise ValueError("operations: expected at least one, found none")
        for kind in (Original, Copy):
            if sum(isinstance(operation, kind) for operation in self.operations) > 1:
                raise ValueError(f"operations: expected `{kind.name}` at most once")
        _check_number("jpeg_quality", self.jpeg_quality, 1, 100)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: expected 0 to 2 ** 63 - 1, found {self.seed}")


def takes_from_others(recipe: Recipe) -> bool:
    """Whether an image of a build may show a part of another picture than its source."""
    return any(isinstance(operation, (Paste, Mosaic)) for operation in recipe.operations)


def from_plain(content: Any, name: str) -> Recipe:
    """A recipe from plain types, as parsed from YAML; `name` names it in errors. Raises DataError."""
    try:
        return msgspec.convert(content, Recipe, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DataError(f"{name}: {_explain(str(error))}") from None


def _explain(message: str) -> str:
    """msgspec's message, which names the unknown key and its place, with the allowed keys."""
    if "unknown field" in message:
        kinds: dict[str, Any] = {".labels": LabelRule, "": Recipe}
        where = message.rpartition("`$")[2].rstrip("`") if "at `$" in message else ""
        if ".operations" in where:
            each = {kind.name: ", ".join(("operation", *kind.__struct_fields__)) for kind in KINDS}
            return f"{message}; allowed are " + "; ".join(f"for {name}: {keys}" for name, keys in each.items())
        return f"{message}; allowed are {', '.join(kinds[where].__struct_fields__)}"
    if message.endswith("`$.chroma`"):
        return f"{message}; expected one of source, 444, 422, 420 (without colons)"
    if "Invalid value" in message:
        return f"{message}; expected one of {', '.join(OPERATION_NAMES)}"
    return message
