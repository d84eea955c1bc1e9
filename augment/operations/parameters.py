"""Recipes as typed records: the operations in order, with the parameters of each.

Every value has a default, unknown keys are refused, and the manifest of a build records them all.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from augment.operations.transforms import ALL_TRANSFORMS, COPY_TRANSFORMS, PAPER_TRANSFORMS
from datasets.errors import DataError

Fraction = tuple[float, float]


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

    The target is `target_boxes`, or else `target_fraction` times the number of source images.
    """

    name: ClassVar[str] = "copy"
    max_copies: int = 20
    target_fraction: float = 0.5
    target_boxes: int | None = None
    transforms: tuple[str, ...] = COPY_TRANSFORMS

    def __post_init__(self) -> None:
        _check_transforms(self.transforms)
        if not 1 <= self.max_copies <= 1000:
            raise ValueError(f"max_copies: expected 1 to 1000, found {self.max_copies}")
        if not 0 < self.target_fraction <= 1:
            raise ValueError(f"target_fraction: expected a share above 0 and up to 1, found {self.target_fraction:g}")
        if self.target_boxes is not None and self.target_boxes < 1:
            raise ValueError(f"target_boxes: expected at least 1, found {self.target_boxes}")


class Crop(Operation, frozen=True):
    """A window whose short side is a fraction of the image's, drawn uniformly from [low, high]."""

    fraction: Fraction

    def __post_init__(self) -> None:
        low, high = self.fraction
        if not (0 < low <= 1 and 0 < high <= 1):
            raise ValueError(f"fraction: expected [low, high] above 0 and up to 1, found [{low:g}, {high:g}]")
        if low > high:
            raise ValueError(f"fraction: expected low <= high, found the empty range [{low:g}, {high:g}]")


class CenterCrop(Crop, frozen=True, tag="center_crop"):
    """A crop around the image's centre."""

    name: ClassVar[str] = "center_crop"


class RandomCrop(Crop, frozen=True, tag="random_crop"):
    """A crop at a position drawn uniformly."""

    name: ClassVar[str] = "random_crop"


AnyOperation = Original | Pixel | Copy | CenterCrop | RandomCrop
OPERATION_NAMES = tuple(kind.name for kind in (Original, Pixel, Copy, CenterCrop, RandomCrop))


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
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality: expected 1 to 100, found {self.jpeg_quality}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: expected 0 to 2 ** 63 - 1, found {self.seed}")


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
            each = {
                kind.name: ", ".join(("operation", *kind.__struct_fields__))
                for kind in (Original, Pixel, Copy, CenterCrop, RandomCrop)
            }
            return f"{message}; allowed are " + "; ".join(f"for {name}: {keys}" for name, keys in each.items())
        return f"{message}; allowed are {', '.join(kinds[where].__struct_fields__)}"
    if "Invalid value" in message:
        return f"{message}; expected one of {', '.join(OPERATION_NAMES)}"
    return message
