"""How predictions become a submission: YAML files, typed; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml

from datasets.errors import DataError
from ensemble.fuse import ScoreType
from ensemble.suppress import Kind

RECIPES = Path(__file__).parent / "recipes"
# COCO counts the best 100 of an image, and the challenge takes no more.
MAX_DETECTIONS = 100

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
# Bounded, since the decay divides by it.
Sigma = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class SoftNms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="soft_nms", kw_only=True
):
    """`sigma` is for gaussian, `iou_threshold` for linear; what decays below `score_threshold` is left out."""

    kind: Kind = "gaussian"
    class_agnostic: bool = True
    sigma: Sigma = 0.5
    iou_threshold: Share = 0.3
    score_threshold: Share = 0.001


class Nms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="nms", kw_only=True):
    class_agnostic: bool = True
    iou_threshold: Share = 0.5


class NoSuppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="none"):
    pass


class Wbf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="wbf", kw_only=True):
    iou_threshold: Share = 0.55
    skip_threshold: Share = 0.0
    score: ScoreType = "avg"


class Nmw(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="nmw", kw_only=True):
    iou_threshold: Share = 0.55
    skip_threshold: Share = 0.0


class FuseNms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="nms", kw_only=True):
    class_agnostic: bool = False
    iou_threshold: Share = 0.5
    skip_threshold: Share = 0.0


class FuseSoftNms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="soft_nms", kw_only=True
):
    kind: Kind = "gaussian"
    class_agnostic: bool = False
    sigma: Sigma = 0.5
    iou_threshold: Share = 0.3
    score_threshold: Share = 0.001
    skip_threshold: Share = 0.0


Suppression = SoftNms | Nms | NoSuppression
Fusion = Wbf | Nmw | FuseNms | FuseSoftNms
# Those that average boxes, which masks cannot follow.
AVERAGING = (Wbf, Nmw)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A results file, relative to the recipe, and what its scores count."""

    results: str
    weight: Weight = 1.0


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Each model's boxes are suppressed, then those of all models fused. Without `models`, all weigh the same."""

    models: tuple[Model, ...] = ()
    suppress: Suppression = msgspec.field(default_factory=SoftNms)
    fuse: Fusion = msgspec.field(default_factory=Wbf)
    detections_per_image: Annotated[int, msgspec.Meta(ge=1, le=MAX_DETECTIONS)] = MAX_DETECTIONS
    format: Literal[1] = 1

    def weights(self, count: int, *, name: str = "recipe") -> list[float]:
        """One for each of `count` results. Raises DataError, which calls the recipe `name`, where it has another number
        of models, or weights of 0 only."""
        if not self.models:
            return [1.0] * count
        if len(self.models) != count:
            raise DataError(
                f"{name}: expected a results file for each of the recipe's {len(self.models)} models "
                f"({', '.join(model.results for model in self.models)}), found {count}"
            )
        if not any(model.weight for model in self.models):
            raise DataError(f"{name}: expected a model with a weight above 0, found none")
        return [model.weight for model in self.models]


def shipped() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def find(name_or_path: str) -> Path:
    """Raises DataError where there is neither a recipe of that name nor such a file."""
    path = RECIPES / f"{name_or_path}.yaml" if name_or_path in shipped() else Path(name_or_path)
    if not path.is_file():
        raise DataError(f"{name_or_path}: expected a YAML file or one of {', '.join(shipped())}, found neither")
    return path


def load(path: Path) -> Recipe:
    """Raises DataError naming the key and what was expected."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return msgspec.convert(found, Recipe, strict=True)
    except msgspec.ValidationError as error:
        allowed = ", ".join(field for field in Recipe.__struct_fields__)
        raise DataError(f"{path}: {error}; a recipe has the keys {allowed}, see ensemble/recipes/paper.yaml") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        # ValueError: bytes that are no text, and what looks like a date and is none.
        raise DataError(f"{path}: not readable as YAML: {error}") from None


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, with every value."""
    return yaml.safe_dump(msgspec.to_builtins(recipe), sort_keys=False)
