"""The ensemble pipeline: read and check results files, suppress, fuse, and cut down to a submission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from datasets import coco, listed_names, percent, provenance, result_reading, results
from datasets.checks import MAX_COORDINATE, Repairs
from datasets.errors import DataError, Problems
from datasets.evaluation import MAX_DETS, evaluate
from datasets.provenance import DeclaredTraining, ResultsProvenance
from datasets.records import Category, Dataset, Image
from datasets.result_names import Names, Numbering
from datasets.results import Results
from datasets.seen import seen_note
from ensemble import fuse, recipe, suppress
from ensemble.detections import Detections, best_of_each_image, from_results, to_results
from ensemble.groups import Floats
from ensemble.recipe import Recipe

# Decimals of a submission: a thousandth of a pixel, a millionth of a score.
BOX_DECIMALS, SCORE_DECIMALS = 3, 6


class Images(NamedTuple):
    """The images and categories of an annotation file; `truth` (ground truth) is None where it has no boxes."""

    path: Path
    images: list[Image]
    categories: list[Category]
    truth: Dataset | None


class Model(NamedTuple):
    """Raw detections and provenance of one results file.

    `results` are sorted by their masks, if there are any; `as_read` are in the order of the file. `repairs` are the
    records that were read although spelled differently.
    """

    path: Path
    results: Results
    detections: Detections
    provenance: ResultsProvenance = ResultsProvenance()
    as_read: Results | None = None
    repairs: Repairs | None = None

    def seen(self, images: Images) -> frozenset[int]:
        """Ids of the images that the model was trained on, as far as its provenance tells."""
        return self.provenance.seen & {image.id for image in images.images}


class Step(NamedTuple):
    """One row of the table of steps.

    `ap` and `ap50` are fractions, None without ground truth. `note` says that they were measured on training images.
    """

    name: str
    detections: int
    ap: float | None = None
    ap50: float | None = None
    note: str = ""


class Fused(NamedTuple):
    """The submission; `steps` are two of each model, as read and suppressed, then the fusion."""

    results: Results
    steps: list[Step]
    notes: list[str]
    read: list[Results]
    """Of each model, in the order of its file."""
    suppressed: list[Results]


def read_images(annotations: Path) -> Images:
    """The images and ground truth of an annotation file. Raises DataError for a bad one."""
    read = coco.read_images(annotations, named=False)
    truth = coco.read(annotations, as_written=True).dataset if read.annotated and read.categories else None
    return Images(annotations, read.images, read.categories, truth)


def read_models(
    paths: Sequence[Path],
    images: Images,
    trained_on: DeclaredTraining | None = None,
    numberings: Sequence[Numbering] | None = None,
) -> list[Model]:
    """Read and check every results file against the annotation file.

    `trained_on` is the training data that the user declared, `numberings` how each file numbers its categories. Raises
    DataError for no file, for the same file twice, for ids that the annotation file lacks (category ids only if it
    lists categories), and for coordinates beyond MAX_COORDINATE.
    """
    if not paths:
        raise DataError("expected at least one results file, found none; name each by --results")
    resolved = [path.resolve() for path in paths]
    twice = [str(path) for at, path in enumerate(paths) if resolved.index(path.resolve()) != at]
    if twice:
        raise DataError("expected different results files, found some twice", twice)
    names = Names(images.images, images.categories)
    chosen: Sequence[Numbering] = numberings or ["ids"] * len(paths)
    return [
        _read_model(path, number, images, names, trained_on, numbering)
        for number, (path, numbering) in enumerate(zip(paths, chosen, strict=True))
    ]


def _read_model(
    path: Path, number: int, images: Images, names: Names, trained_on: DeclaredTraining | None, numbering: Numbering
) -> Model:
    read = result_reading.read_numbered(path, names, numbering, [item.id for item in images.categories])
    ids = listed_names.renumbering(images.images, read.results, path)
    read = read._replace(results=listed_names.renumbered(read.results, ids))
    check_ids(path, read.results, images)
    _check_coordinates(path, read.results)
    sorted_ = _by_mask(read.results)
    return Model(
        path, sorted_, from_results(sorted_, number), provenance.read(path, trained_on, ids), read.results, read.repairs
    )


def _check_coordinates(path: Path, detections: Results) -> None:
    """Refuse boxes so large that the areas computed from them would overflow."""
    boxes = detections.boxes_xywh
    if not len(boxes) or -MAX_COORDINATE <= boxes.min() <= boxes.max() <= MAX_COORDINATE:
        return
    problems = Problems()
    beyond, _ = np.nonzero(np.abs(boxes) > MAX_COORDINATE)
    for at in np.unique(beyond):
        shown = detections.boxes_xywh[at].tolist()
        problems.add(f"$[{at}].bbox: expected coordinates of up to {MAX_COORDINATE:g} px, found {shown}")
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the results file")


def _by_mask(detections: Results) -> Results:
    """Sort by mask, if there are masks, so that the order of the file does not decide between equal detections."""
    if detections.segmentations is None:
        return detections
    order = sorted(range(len(detections)), key=detections.segmentations.__getitem__)
    return Results(
        detections.image_ids[order],
        detections.category_ids[order],
        detections.boxes_xywh[order],
        detections.scores[order],
        [detections.segmentations[at] for at in order],
    )


def check_ids(path: Path, detections: Results, images: Images) -> None:
    """Raises DataError for ids that the annotation file lacks; where it lists no categories, any are allowed."""
    categories = [category.id for category in images.categories] or np.unique(detections.category_ids).tolist()
    results.check_ids(path, detections, [image.id for image in images.images], categories, images.path)


def unknown_ids(detections: Results, images: Images) -> list[str]:
    """The problems that `check_ids` raises, a line for each unknown id."""
    image_ids = np.array(sorted(image.id for image in images.images), dtype=np.int64)
    categories = sorted(category.id for category in images.categories)
    known = np.array(categories, dtype=np.int64) if categories else np.unique(detections.category_ids)
    return results.unknown_ids(detections, image_ids, known)


def suppressed(detections: Detections, how: recipe.Suppression) -> Detections:
    """One model's detections after suppression (NMS, soft-NMS or none)."""
    if isinstance(how, recipe.SoftNms):
        return _soft_nms(detections, how)
    if isinstance(how, recipe.Nms):
        return suppress.nms(detections, iou_threshold=how.iou_threshold, class_agnostic=how.class_agnostic)
    return detections


def _soft_nms(detections: Detections, how: recipe.SoftNms | recipe.FuseSoftNms) -> Detections:
    return suppress.soft_nms(
        detections,
        kind=how.kind,
        class_agnostic=how.class_agnostic,
        sigma=how.sigma,
        iou_threshold=how.iou_threshold,
        score_threshold=how.score_threshold,
    )


def fused(parts: list[Detections], weights: list[float], how: recipe.Fusion) -> Detections:
    """Fuses the detections of all models with a weight above 0; those of a single model are returned unchanged."""
    if sum(weight > 0 for weight in weights) == 1:
        return next(part for part, weight in zip(parts, weights, strict=True) if weight > 0)
    if isinstance(how, recipe.Wbf):
        return fuse.wbf(
            parts, weights, iou_threshold=how.iou_threshold, skip_threshold=how.skip_threshold, score=how.score
        )
    if isinstance(how, recipe.Nmw):
        return fuse.nmw(parts, weights, iou_threshold=how.iou_threshold, skip_threshold=how.skip_threshold)
    joined = fuse.weighted(parts, weights, how.skip_threshold)
    if isinstance(how, recipe.FuseNms):
        return suppress.nms(joined, iou_threshold=how.iou_threshold, class_agnostic=how.class_agnostic)
    return _soft_nms(joined, how)


def submittable(detections: Detections, images: Images, count: int) -> Detections:
    """Detections that a server accepts: clipped to their images, rounded, at most `count` an image (highest scores)."""
    sizes: Floats = np.array([(image.width, image.height) for image in images.images], dtype=np.float64)
    ids = np.array([image.id for image in images.images], dtype=np.int64)
    order = np.argsort(ids)
    size = sizes[order[np.searchsorted(ids[order], detections.image_ids)]]
    # + 0.0 makes 0.0 of -0.0, which would be written differently.
    boxes = np.clip(detections.boxes_xyxy, 0.0, np.hstack([size, size])).round(BOX_DECIMALS) + 0.0
    scores = detections.scores.round(SCORE_DECIMALS) + 0.0
    inside = msgspec.structs.replace(detections, boxes_xyxy=boxes, scores=scores)
    has_area = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return best_of_each_image(inside.take(has_area).with_scores(inside.scores[has_area]), count)


def run(
    models: list[Model],
    images: Images,
    chosen: Recipe,
    *,
    weights: list[float] | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Fused:
    """Run the whole recipe; with ground truth, the AP of every step is measured."""
    weights = chosen.weights(len(models)) if weights is None else weights
    steps: list[Step] = []
    parts: list[Detections] = []
    suppressed_parts: list[Results] = []
    read = [model.as_read or model.results for model in models]
    for at, model in enumerate(models):
        progress("suppressing", at, len(models) + 1)
        about = _seen_note(model.seen(images), images)
        steps.append(_measure(str(model.path), read[at], images, chosen, about))
        part = suppressed(model.detections, chosen.suppress)
        parts.append(part)
        suppressed_parts.append(to_results(part))
        steps.append(_measure("  after suppression", suppressed_parts[-1], images, chosen, about))
    progress("fusing", len(models), len(models) + 1)
    final = submittable(fused(parts, weights, chosen.fuse), images, chosen.detections_per_image)
    counted = [model for model, weight in zip(models, weights, strict=True) if weight > 0]
    about = _seen_note(frozenset().union(*(model.seen(images) for model in counted)), images)
    steps.append(_measure("fused", _written(final), images, chosen, about))
    progress("fusing", len(models) + 1, len(models) + 1)
    notes = _notes(models, weights, images, final, chosen)
    return Fused(_with_masks(final, models, weights, chosen), steps, notes, read, suppressed_parts)


def _seen_note(seen: frozenset[int], images: Images) -> str:
    """The note for an AP that was measured on training images; empty without ground truth."""
    return seen_note(len(seen), len(images.images)) if images.truth is not None else ""


def ap_of(detections: Detections, images: Images, chosen: Recipe) -> float:
    """The AP of detections as they would be submitted; 0 where the ground truth has no object."""
    done = submittable(detections, images, chosen.detections_per_image)
    return _measure("", _written(done), images, chosen).ap or 0.0


def _measure(name: str, detections: Results, images: Images, chosen: Recipe, about: str = "") -> Step:
    """The AP of detections as they are, equal to that of `datasets evaluate` for a file of them."""
    if images.truth is None:
        return Step(name, len(detections))
    evaluated = evaluate(images.truth, detections, name=name, max_dets=max(MAX_DETS, chosen.detections_per_image))
    return Step(name, len(detections), evaluated.ap, evaluated.ap50, about)


def _written(detections: Detections) -> Results:
    """As results, with widths and heights rounded like the corners that they are differences of."""
    made = to_results(detections)
    return msgspec.structs.replace(made, boxes_xywh=made.boxes_xywh.round(BOX_DECIMALS))


def _notes(models: list[Model], weights: list[float], images: Images, final: Detections, chosen: Recipe) -> list[str]:
    notes = [f"{model.path}: {line.strip()}" for model in models if model.repairs for line in model.repairs.brief()]
    notes += [f"{model.path}: no detection at all" for model in models if not len(model.detections)]
    notes += [f"{m.path}: weight 0, left out" for m, weight in zip(models, weights, strict=True) if weight == 0]
    if sum(weight > 0 for weight in weights) == 1:
        notes.append("one model alone: nothing to fuse")
    elif isinstance(chosen.fuse, recipe.AVERAGING) and any(model.results.segmentations for model in models):
        notes.append("masks are dropped, since the boxes of several models are averaged")
    if images.truth is not None:
        notes += provenance.notes((model.path, model.provenance) for model in models)
    without = len(images.images) - len(np.unique(final.image_ids))
    notes.append(f"{without:,} of {len(images.images):,} images without a detection")
    return notes


def _with_masks(final: Detections, models: list[Model], weights: list[float], chosen: Recipe) -> Results:
    """The results, with the masks of boxes that fusion did not average."""
    written = _written(final)
    kept = [model for model, weight in zip(models, weights, strict=True) if weight > 0]
    averaged = isinstance(chosen.fuse, recipe.AVERAGING) and len(kept) > 1
    if averaged or not any(model.results.segmentations for model in models):
        return written
    # Fusion numbers the models that have a weight; a single one keeps the number that it was read with.
    owners = models if len(kept) == 1 else kept
    masks = []
    for number, row in zip(final.models.tolist(), final.rows.tolist(), strict=True):
        segmentations = owners[number].results.segmentations
        masks.append(segmentations[row] if segmentations is not None else b"")
    return msgspec.structs.replace(written, segmentations=masks)


def table(steps: list[Step]) -> list[str]:
    """Lines of text: each step with its number of detections and, with ground truth, AP and AP50 in percent."""
    width = max(len(step.name) for step in steps)
    measured_ = any(step.ap is not None for step in steps)
    head = f"{'':<{width}}{'detections':>12}" + (f"{'AP':>7}{'AP50':>7}" if measured_ else "")
    return [head, *(_row(step, width, measured_) for step in steps)]


def _row(step: Step, width: int, measured_: bool) -> str:
    row = f"{step.name:<{width}}{step.detections:>12,}"
    if measured_:
        row += f"{percent.precision(step.ap):>7}{percent.precision(step.ap50):>7}"
    return f"{row}   {step.note}" if step.note else row
