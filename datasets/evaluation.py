"""COCO's average precision and recall of boxes or masks, by hotcoco."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, NamedTuple

import hotcoco
import msgspec
import numpy as np
import numpy.typing as npt

from datasets import evaluated_masks, percent
from datasets.errors import DataError
from datasets.records import Dataset
from datasets.results import Results, unknown_ids

# COCO's limit of detections of a category in an image.
MAX_DETS = 100


class Interval(NamedTuple):
    """A range of AP, or of a difference of two, as fractions: 95 % of what other images like these would give."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{percent.precision(self.low)} to {percent.precision(self.high)}"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The twelve numbers of COCO's summary, from 0 to 1; None where there is no object to find.

    `ap` is averaged over the IoU thresholds 0.50, 0.55, ..., 0.95; `ap50` and `ap75` are at one of them. `small` is an
    area below 32 ** 2 px, `medium` up to 96 ** 2, `large` above. Recall is over the 1, 10 or `max_dets` (COCO: 100)
    highest-scoring detections of a category in an image, precision over `max_dets`. `per_category` is `ap` by category
    id.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    per_category: dict[int, float | None]
    max_dets: int = MAX_DETS
    interval: Interval | None = None
    """Of `ap`, where `intervals.ap_interval` was asked for it."""

    def numbers(self) -> dict[str, float | None]:
        """The twelve numbers by name, in COCO's order; `ar100` is named so for any `max_dets`."""
        return {f"ar{self.max_dets}" if key == "ar100" else key: getattr(self, key) for key in METRICS}


class Metric(NamedTuple):
    """A number of the summary: its label, and its curve, thresholds, area range and limit."""

    label: str
    curve: Literal["precision", "recall"]
    thresholds: slice = slice(None)  # 0.50, 0.55, ..., 0.95
    area: int = 0  # all, small, medium, large
    limit: int = 2  # 1, 10, `max_dets` detections of a category in an image


METRICS = {
    "ap": Metric("AP", "precision"),
    "ap50": Metric("AP50", "precision", thresholds=slice(0, 1)),
    "ap75": Metric("AP75", "precision", thresholds=slice(5, 6)),
    "ap_small": Metric("APs", "precision", area=1),
    "ap_medium": Metric("APm", "precision", area=2),
    "ap_large": Metric("APl", "precision", area=3),
    "ar1": Metric("AR1", "recall", limit=0),
    "ar10": Metric("AR10", "recall", limit=1),
    "ar100": Metric("AR100", "recall"),
    "ar_small": Metric("ARs", "recall", area=1),
    "ar_medium": Metric("ARm", "recall", area=2),
    "ar_large": Metric("ARl", "recall", area=3),
}


def evaluate(
    dataset: Dataset,
    results: Results,
    *,
    name: str = "results",
    truth: str = "annotations",
    max_dets: int = MAX_DETS,
    masks: bool = False,
) -> Evaluation:
    """Compare detections with a dataset's objects as pycocotools' COCOeval does; crowds are ignored regions.

    With `masks`, these are compared instead of boxes, and the area of a detection is its mask's, as in Detectron2 and
    mmdetection. Ties between scores are broken by image id, within an image by the order of `results`. Raises
    DataError, which calls the results `name` and the dataset `truth`, where results have ids that the dataset lacks,
    and where masks are missing or of another size than their image.
    """
    image_ids, category_ids = checked_ids(dataset, results, name)
    compared = None
    if masks:
        of_objects = evaluated_masks.of_objects(dataset, truth)
        compared = Masks(of_objects, evaluated_masks.of_detections(results, dataset, name))
    curves = _curves(dataset, results, image_ids, category_ids, max_dets, compared)
    numbers: dict[str, Any] = {
        key: _mean(curves[metric.curve][metric.thresholds, ..., metric.area, metric.limit])
        for key, metric in METRICS.items()
    }
    # (thresholds, recall, categories)
    precision = curves["precision"][..., METRICS["ap"].area, METRICS["ap"].limit]
    per_category = {int(id_): _mean(precision[:, :, index]) for index, id_ in enumerate(category_ids)}
    return Evaluation(**numbers, per_category=per_category, max_dets=max_dets)


class Masks(NamedTuple):
    """The masks of a dataset's annotations and of the detections, in their orders."""

    of_objects: list[evaluated_masks.Runs]
    of_detections: list[evaluated_masks.Runs]


def matched(
    dataset: Dataset, results: Results, max_dets: int = MAX_DETS, *, name: str = "results"
) -> list[dict[str, Any]]:
    """COCOeval's matches of detections and objects of any size: an entry for each image and category with either.

    Ids are ranks: those of images among the sorted image ids, those of categories likewise. Raises DataError, which
    calls the results `name`, where these have ids that the dataset lacks.
    """
    evaluation = prepared(dataset, results, *checked_ids(dataset, results, name), max_dets)
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = evaluation.params.area_rng[:1], ["all"]
    evaluation.evaluate()
    return [entry for entry in evaluation.eval_imgs if entry is not None]


def checked_ids(dataset: Dataset, results: Results, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The sorted ids of images, and of categories. Raises DataError where results have others."""
    image_ids = np.array(sorted(image.id for image in dataset.images), dtype=np.int64)
    category_ids = np.array(sorted(category.id for category in dataset.categories), dtype=np.int64)
    problems = unknown_ids(results, image_ids, category_ids)
    if problems:
        raise DataError(f"{name}: {len(problems)} id(s) that the annotation file does not have", problems)
    return image_ids, category_ids


def _curves(
    dataset: Dataset,
    results: Results,
    image_ids: npt.NDArray[np.int64],
    category_ids: npt.NDArray[np.int64],
    max_dets: int,
    masks: Masks | None,
) -> dict[str, npt.NDArray[np.float64]]:
    """COCOeval's `precision` (thresholds, recall, categories, areas, limits) and `recall` (without the second axis).

    Categories are in the order of `category_ids`; -1 means that there is no object.
    """
    evaluation = prepared(dataset, results, image_ids, category_ids, max_dets, masks)
    evaluation.evaluate()
    evaluation.accumulate()
    # Not summarize(), which prints.
    curves = evaluation.eval
    assert curves is not None
    return {"precision": curves["precision"], "recall": curves["recall"]}


def prepared(
    dataset: Dataset,
    results: Results,
    image_ids: npt.NDArray[np.int64],
    category_ids: npt.NDArray[np.int64],
    max_dets: int,
    masks: Masks | None = None,
) -> Any:
    """hotcoco's COCOeval, not yet evaluated."""
    # hotcoco takes no negative ids, so it gets ranks instead, which preserve the order.
    annotations = dataset.annotations
    truth = hotcoco.COCO.from_arrays(
        [{"id": rank, "file_name": "", "width": 0, "height": 0} for rank in range(len(image_ids))],
        [{"id": rank, "name": str(rank)} for rank in range(len(category_ids))],
        np.searchsorted(image_ids, np.array([item.image_id for item in annotations], dtype=np.int64)),
        np.searchsorted(category_ids, np.array([item.category_id for item in annotations], dtype=np.int64)),
        np.array([item.bbox for item in annotations], dtype=np.float64).reshape(-1, 4),
        area=np.array([item.area for item in annotations], dtype=np.float64),
        iscrowd=np.array([item.iscrowd for item in annotations], dtype=np.int64),
        segmentation=None if masks is None else [*masks.of_objects],
    )
    images, categories = (
        np.searchsorted(image_ids, results.image_ids),
        np.searchsorted(category_ids, results.category_ids),
    )
    columns = np.hstack([images[:, None], results.boxes_xywh, results.scores[:, None], categories[:, None]])
    if masks is None or not len(results):
        found = truth.load_res(columns)
    else:
        # Without boxes, whose areas would be taken for those of the masks.
        rows = zip(images.tolist(), categories.tolist(), results.scores.tolist(), masks.of_detections, strict=True)
        keys = ("image_id", "category_id", "score", "segmentation")
        found = truth.load_res([dict(zip(keys, row, strict=True)) for row in rows])
    evaluation = hotcoco.COCOeval(truth, found, "bbox" if masks is None else "segm")
    evaluation.params.max_dets = [min(limit, max_dets) for limit in (1, 10)] + [max_dets]
    return evaluation


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    """The mean of the defined values."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def category_rows(evaluation: Evaluation, dataset: Dataset) -> list[dict[str, Any]]:
    """`id`, `name`, `objects` (without crowds) and `ap` of each category, in the order of the file."""
    objects = Counter(item.category_id for item in dataset.annotations if not item.iscrowd)
    return [
        {"id": item.id, "name": item.name, "objects": objects[item.id], "ap": evaluation.per_category[item.id]}
        for item in dataset.categories
    ]


def summary_table(evaluation: Evaluation, note: str = "") -> list[str]:
    """Lines of text: precisions below their labels, then recalls, in percent; `note` is appended."""
    lines = []
    for curve in ("precision", "recall"):
        keys = [key for key, metric in METRICS.items() if metric.curve == curve]
        labels = {**{key: METRICS[key].label for key in keys}, "ar100": f"AR{evaluation.max_dets}"}
        lines.append("".join(f"{labels[key]:>7}" for key in keys))
        row = "".join(f"{percent.precision(getattr(evaluation, key)):>7}" for key in keys)
        lines.append(f"{row}   {note}" if note else row)
    return lines


def categories_table(evaluation: Evaluation, dataset: Dataset, note: str = "") -> list[str]:
    """Lines of text: objects and AP, in percent, of each category; `note` is appended to the header."""
    head = f"{'category':<24}{'objects':>10}{'AP':>7}"
    return [
        f"{head}   {note}" if note else head,
        *(
            f"{row['name'][:23]:<24}{row['objects']:>10,}{percent.precision(row['ap']):>7}"
            for row in category_rows(evaluation, dataset)
        ),
    ]
