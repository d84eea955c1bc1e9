"""Paste: objects of other images, cut out by their masks, scaled, mirrored and put on top of an image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from augment.operations.donors import Booleans, Chooser, Donors, Indices
from augment.operations.labels import KEEP, PASTED, Labels
from augment.operations.occlusion import Cover, occlude
from augment.operations.parameters import LabelRule, Paste
from datasets import coco_runs
from datasets.coco_runs import CocoRle
from datasets.images import Pixels
from datasets.masks import cut_out
from datasets.records import Annotation, Donor, Polygons, Rle, Window

Scales = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]  # (height, width) of 0 and 1
# Weights of the object's pixels in a blend, in 1 / OPAQUE.
OPAQUE = 256


def draw(
    operation: Paste, width: int, height: int, own: int, donors: Donors, choose: Chooser, rng: np.random.Generator
) -> tuple[Donor, ...]:
    """The objects to paste into a width x height image, the picture `own` of `donors`; () where none suits.

    Each lies wholly inside. No object is pasted twice into one variant, and none into its own picture.
    """
    chosen: list[int] = []
    pasted = []

    def suits(at: Indices) -> Booleans:
        low, high = _scales(operation, donors.windows[at], width, height)
        suitable = donors.differ(own, donors.pictures[at]) & (low <= high)
        for other in chosen:
            suitable &= at != other
        return np.asarray(suitable)

    for _ in range(int(rng.integers(*operation.objects, endpoint=True))):
        at = choose(rng, suits)
        if at is None:
            break
        chosen.append(at)
        window: Window = tuple(donors.windows[at].tolist())
        x0, y0, x1, y1 = window
        low, high = _scales(operation, donors.windows[at], width, height)
        scale = float(rng.uniform(float(low), float(high)))
        new_width = min(width, max(1, round((x1 - x0) * scale)))
        new_height = min(height, max(1, round((y1 - y0) * scale)))
        left = int(rng.integers(0, width - new_width, endpoint=True))
        top = int(rng.integers(0, height - new_height, endpoint=True))
        picture = donors.listed[donors.pictures[at]]
        pasted.append(
            Donor(
                source_input=picture.input,
                source_id=picture.id,
                source_annotation_id=int(donors.annotations[at]),
                window=window,
                region=(left, top, left + new_width, top + new_height),
                scale=scale,
                flip=bool(rng.random() < operation.flip),
            )
        )
    return tuple(pasted)


def _scales(operation: Paste, windows: Indices, width: int, height: int) -> tuple[Scales, Scales]:
    """(..., 4) windows -> (...) least and largest scale at which objects keep their least size and fit into the image;
    none where that is empty, low > high.
    """
    sizes = windows[..., 2:] - windows[..., :2]
    low, high = operation.scale
    fits = (np.array((width, height)) / sizes).min(axis=-1)
    return np.maximum(operation.min_size / sizes.min(axis=-1), low), np.minimum(fits, high)


def mask_of(donor: Donor, annotation: Annotation) -> Mask:
    """(h, w) The mask of a pasted object, in the size of the donor's region; all ones for an object without a mask."""
    x0, y0, x1, y1 = donor.window
    width, height = donor.region[2] - donor.region[0], donor.region[3] - donor.region[1]
    if isinstance(annotation.segmentation, Rle):
        shown = np.ascontiguousarray(cut_out(annotation.segmentation, donor.window))
        mask = cv2.resize(shown, (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(mask[:, ::-1] if donor.flip else mask, dtype=np.uint8)
    if not annotation.segmentation:
        return np.ones((height, width), dtype=np.uint8)
    # Scaled as an outline, since a scaled bitmap has steps. Mirrored as one, so that the pixels follow it exactly.
    factors = np.array((width / (x1 - x0), height / (y1 - y0)))
    outlines: Polygons = tuple(
        ((polygon.reshape(-1, 2) - (x0, y0)) * factors).reshape(-1) for polygon in annotation.segmentation
    )
    mask = coco_runs.to_bitmap(coco_runs.from_segmentation(outlines, height, width))
    return np.ascontiguousarray(mask[:, ::-1]) if donor.flip else mask


def blend(canvas: Pixels, donor: Donor, donor_pixels: Pixels, mask: Mask, edge: int) -> None:
    """Paste an object into `canvas`, in place; over the `edge` px inside its outline it fades in."""
    x0, y0, x1, y1 = donor.window
    left, top, right, bottom = donor.region
    patch = resized(donor_pixels[y0:y1, x0:x1], right - left, bottom - top)
    if donor.flip:
        patch = np.asarray(cv2.flip(patch, 1), dtype=np.uint8)
    beneath = canvas[top:bottom, left:right]
    weights = opacity(mask, edge)
    # Few pixels are mixed.
    fading = np.nonzero((weights > 0) & (weights < OPAQUE))
    weight = weights[fading].astype(np.uint32)[:, None]
    mixed = (weight * patch[fading] + (OPAQUE - weight) * beneath[fading] + OPAQUE // 2) // OPAQUE
    cv2.copyTo(patch, mask, beneath)
    beneath[fading] = mixed


def opacity(mask: Mask, edge: int) -> npt.NDArray[np.uint16]:
    """(h, w) The weights of an object's pixels, 0 outside its mask, OPAQUE further than `edge` px inside.

    Nothing of the donor's background shows, as it would where an outline is blurred to both sides.
    """
    if not edge:
        return mask * np.uint16(OPAQUE)
    # Distances to the nearest pixel outside, also beyond the region: the outline's own pixels have 1.
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0,))
    distances = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    return np.asarray(np.minimum(np.rint(distances * (OPAQUE / (edge + 1))), OPAQUE), dtype=np.uint16)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Pixels in another size: interpolated, or averaged where more than two become one."""
    shrinks = 2 * min(width / pixels.shape[1], height / pixels.shape[0]) < 1
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), dtype=np.uint8)


def labels(
    shown: Labels, width: int, height: int, pasted: Sequence[tuple[Donor, Annotation, Mask]], rule: LabelRule
) -> Labels:
    """The labels of a width x height image on which objects lie: what they cover is cut out of all that is beneath.

    `pasted` has the donor, its annotation and `mask_of` each, the last on top. Pasted objects follow the image's own,
    and name their picture; one without a pixel is dropped.
    """
    masks = [coco_runs.at(mask, donor.region, height, width) for donor, _, mask in pasted]
    windows = [donor.region for donor, _, _ in pasted]
    layers: list[tuple[str, Annotation | None, int]] = [(KEEP, item, 0) for item in shown.annotations]
    for index, (donor, annotation, _) in enumerate(pasted):
        layers.append((PASTED, _label(donor, annotation, masks[index]), index + 1))
    covers = [Cover.of_masks(masks[first:], windows[first:]) for first in range(len(masks))]
    annotations: list[Annotation] = []
    outcomes: list[str] = []
    for uncovered, item, above in layers:
        case = KEEP
        if item is not None and above < len(covers):
            case, item = occlude(item, covers[above], rule)
        if item is not None:
            annotations.append(item)
            outcomes.append(uncovered if case == KEEP else case)
    return Labels(annotations, outcomes, shown.dropped + len(layers) - len(annotations))


def _label(donor: Donor, annotation: Annotation, mask: CocoRle) -> Annotation | None:
    """The label of a pasted object that nothing covers."""
    x0, y0, x1, y1 = coco_runs.bounds(mask)
    if x1 <= x0 or y1 <= y0:
        return None
    return Annotation(
        id=0,
        image_id=0,
        category_id=annotation.category_id,
        bbox=(x0, y0, x1 - x0, y1 - y0),
        area=float(coco_runs.area(mask)),
        iscrowd=0,
        segmentation=coco_runs.to_rle(mask) if annotation.segmentation else None,
        source_annotation_id=annotation.id,
        source_image_id=donor.source_id,
        source_input=donor.source_input,
    )
