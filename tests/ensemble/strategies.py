"""Recipes with any values, and results as untidy as `fuse` must take them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from ensemble.recipe import FuseNms, FuseSoftNms, Model, Nms, Nmw, NoSuppression, Recipe, SoftNms, Wbf
from tests.ensemble.files import CATEGORIES, SIZES, Record

shares = st.floats(0, 1)
kinds: Any = st.sampled_from(["gaussian", "linear"])
score_types: Any = st.sampled_from(["avg", "max", "box_and_model_avg", "absent_model_aware_avg"])
soft: dict[str, Any] = {
    "kind": kinds,
    "class_agnostic": st.booleans(),
    "sigma": st.floats(1e-6, 1e6),
    "iou_threshold": shares,
    "score_threshold": shares,
}
suppressions = st.one_of(
    st.builds(SoftNms, **soft),
    st.builds(Nms, class_agnostic=st.booleans(), iou_threshold=shares),
    st.builds(NoSuppression),
)
fusions = st.one_of(
    st.builds(Wbf, iou_threshold=shares, skip_threshold=shares, score=score_types),
    st.builds(Nmw, iou_threshold=shares, skip_threshold=shares),
    st.builds(FuseNms, class_agnostic=st.booleans(), iou_threshold=shares, skip_threshold=shares),
    st.builds(FuseSoftNms, **soft, skip_threshold=shares),
)


def recipes(models: Any = None) -> st.SearchStrategy[Recipe]:
    """Of any models, or of those that `models` draws."""
    anything = st.lists(st.builds(Model, results=st.text(), weight=st.floats(0, 1e6)), max_size=3).map(tuple)
    return st.builds(
        Recipe,
        models=anything if models is None else models,
        suppress=suppressions,
        fuse=fusions,
        detections_per_image=st.integers(1, 100),
    )


# Inside, outside and across the image; the same ones again and again; hardly any size, and none.
places = st.one_of(st.sampled_from([0.0, 10.0, 59.9996, -1e9, 1e9]), st.floats(-200, 300))
sizes = st.one_of(st.sampled_from([20.0, 0.0, 4e-4, 5e-324, 1e9]), st.floats(0, 400))
found_scores = st.one_of(st.sampled_from([0.5, 0.0, 1.0, 4e-7, 5e-324]), shares)
MASKS = ("[[1, 2,3]]", "", '{"counts":"é"}', "null")

# A detection and its mask, which is empty where it has none.
Masked = tuple[Record, str]


@st.composite
def results(draw: st.DrawFn, with_masks: bool) -> list[Masked]:
    """A model's detections in pixels; some stand there several times, up to 120 times, with other masks."""
    found: list[Masked] = []
    for _ in range(draw(st.integers(0, 5))):
        image_id, category_id = draw(st.sampled_from(list(SIZES))), draw(st.sampled_from(CATEGORIES))
        box, score = draw(st.tuples(places, places, sizes, sizes)), draw(found_scores)
        for at in range(draw(st.sampled_from([1, 2, 3, 120]))):
            record = {
                "image_id": image_id,
                "category_id": category_id,
                "bbox": _signed(box, at),
                "score": _signed([score], at)[0],
            }
            found.append((record, MASKS[at % 4] if with_masks else ""))
    if found:
        # What ends beyond a pixel or two shows that boxes are not fractions of the image.
        found.append(({"image_id": 12, "category_id": 1, "bbox": [0.0, 0.0, 30.0, 30.0], "score": 0.25}, ""))
    return found


def _signed(values: Iterable[float], at: int) -> list[float]:
    """The same; every other time with -0.0 for 0.0, which is equal and written in another way."""
    return [-0.0 if value == 0 and at % 2 else value for value in values]
