"""Recipes of the ensemble: typed YAML files; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import yaml

from datasets import yaml_files
from datasets.errors import DataError
from datasets.result_names import Numbering
from ensemble.fuse import ScoreType
from ensemble.suppress import Kind

RECIPES = Path(__file__).parent / "recipes"
# COCO evaluates the best 100 detections of an image, the challenge's limit; other metrics allow more.
MAX_DETECTIONS, MOST_DETECTIONS = 100, 10_000

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
# Bounded, since the decay divides by sigma.
Sigma = Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class SoftNms(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="method", tag="soft_nms", kw_only=True
):
    """Soft-NMS: `sigma` is for gaussian, `iou_threshold` for linear; decayed scores below `score_threshold` are
    dropped.
    """

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
# Method name in a recipe -> its parameters.
SUPPRESSIONS: dict[str, type[msgspec.Struct]] = {"soft_nms": SoftNms, "nms": Nms, "none": NoSuppression}
FUSIONS: dict[str, type[msgspec.Struct]] = {"wbf": Wbf, "nmw": Nmw, "nms": FuseNms, "soft_nms": FuseSoftNms}
# Methods that average boxes, which drops masks.
AVERAGING = (Wbf, Nmw)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model: its results file, relative to the recipe; its weight; how it numbers its categories."""

    results: str
    weight: Weight = 1.0
    categories: Numbering = "ids"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Suppression of each model's boxes, then fusion of all models. Without `models`, all have the weight 1."""

    models: tuple[Model, ...] = ()
    suppress: Suppression = msgspec.field(default_factory=SoftNms)
    fuse: Fusion = msgspec.field(default_factory=Wbf)
    detections_per_image: Annotated[int, msgspec.Meta(ge=1, le=MOST_DETECTIONS)] = MAX_DETECTIONS
    format: Literal[1] = 1

    def weights(self, count: int, *, name: str = "recipe") -> list[float]:
        """The weight of each of `count` results files.

        Raises DataError, which calls the recipe `name`, where it has another number of models, or only weights of 0.
        """
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
    """Names of the recipes that ship."""
    return yaml_files.shipped(RECIPES)


def find(name_or_path: str) -> Path:
    """The file of a shipped recipe, or the path as it is. Raises DataError where there is neither."""
    return yaml_files.find(name_or_path, RECIPES, option="--recipe")


def load(path: Path) -> Recipe:
    """The recipe in a file. Raises DataError naming the key, what was found, and the choices."""
    content = yaml_files.read(path)
    try:
        return msgspec.convert(content, Recipe, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DataError(f"{path}: {error}", _unknown(content), advice=ADVICE) from None


ADVICE = "docs/ensemble.md has the YAML of every method; ensemble/recipes/paper.yaml is a whole recipe."


def _unknown(content: Any) -> list[str]:
    """A problem for every unknown key, method and choice, with the known ones."""
    if not isinstance(content, dict):
        return []
    problems = _unknown_keys("", content, Recipe)
    for key, methods in (("suppress", SUPPRESSIONS), ("fuse", FUSIONS)):
        problems += _unknown_method(key, content.get(key), methods)
    models = content.get("models")
    for at, model in enumerate(models if isinstance(models, list) else []):
        problems += _unknown_keys(f"models[{at}].", model, Model)
    return problems


def _unknown_method(key: str, content: Any, methods: dict[str, type[msgspec.Struct]]) -> list[str]:
    if not isinstance(content, dict):
        return []
    method = content.get("method")
    if not isinstance(method, str) or method not in methods:
        said = f"found {method!r}" if "method" in content else "found none"
        return [f"{key}.method: expected one of {', '.join(methods)}, {said}"]
    parameters = {name: value for name, value in content.items() if name != "method"}
    return _unknown_keys(f"{key}.", parameters, methods[method])


def _unknown_keys(prefix: str, content: Any, kind: type[msgspec.Struct]) -> list[str]:
    if not isinstance(content, dict):
        return []
    known = get_type_hints(kind)
    expected = f"one of {', '.join(known)}" if known else "no key beside method"
    problems = []
    for name, value in content.items():
        if name not in known:
            problems.append(f"{prefix}{name}: expected {expected}")
        elif get_origin(known[name]) is Literal and value not in get_args(known[name]):
            choices = ", ".join(map(str, get_args(known[name])))
            problems.append(f"{prefix}{name}: expected one of {choices}, found {value!r}")
    return problems


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, with every value."""
    return yaml.safe_dump(msgspec.to_builtins(recipe), sort_keys=False)
