"""Mosaic: parts of four images around a drawn centre, in the size of the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from augment.operations.donors import Chooser, Donors
from augment.operations.labels import Labels
from augment.operations.parameters import Mosaic
from augment.operations.paste import resized
from datasets import coco_runs
from datasets.images import Pixels
from datasets.masks import DECIMALS, MIN_PIECE_AREA, cut_out, polygons_to_rle, rle_bounds
from datasets.records import Annotation, Donor, Polygons, Rle, Window

# Half a mosaic needs a pixel.
SMALLEST = 2


def draw(
    operation: Mosaic, width: int, height: int, own: int, donors: Donors, choose: Chooser, rng: np.random.Generator
) -> tuple[Donor, ...]:
    """The quarters of a width x height mosaic, row by row; the picture `own` of `donors` takes a drawn one.

    () where there is no other picture, or no room for quarters.
    """
    if min(width, height) < SMALLEST:
        return ()
    x = min(width - 1, max(1, round(float(rng.uniform(*operation.center)) * width)))
    y = min(height - 1, max(1, round(float(rng.uniform(*operation.center)) * height)))
    regions = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    own_quarter = int(rng.integers(len(regions)))
    quarters = []
    for index, region in enumerate(regions):
        if index == own_quarter:
            picture: int | None = own
        else:
            picture = _other_picture(operation, own, donors, choose, rng)
        if picture is None:
            return ()
        quarters.append(_quarter(operation, donors, picture, region, rng))
    return tuple(quarters)


def _other_picture(
    operation: Mosaic, own: int, donors: Donors, choose: Chooser, rng: np.random.Generator
) -> int | None:
    """Another picture than `own`: that of an object drawn rare first, or any, also one without objects."""
    if operation.choose == "uniform":
        others = np.flatnonzero(donors.differ(own, np.arange(len(donors.listed))))
        return int(others[int(rng.integers(len(others)))]) if len(others) else None
    drawn = choose(rng, lambda objects: donors.differ(own, donors.pictures[objects]))
    return None if drawn is None else int(donors.pictures[drawn])


def _quarter(operation: Mosaic, donors: Donors, picture: int, region: Window, rng: np.random.Generator) -> Donor:
    """A window of a picture, at a drawn scale and position, for a region that it fills."""
    input_, id_, width, height = donors.listed[picture]
    across, down = region[2] - region[0], region[3] - region[1]
    scale = max(float(rng.uniform(*operation.scale)), across / width, down / height)
    shown_width = min(width, max(1, round(across / scale)))
    shown_height = min(height, max(1, round(down / scale)))
    left = int(rng.integers(0, width - shown_width, endpoint=True))
    top = int(rng.integers(0, height - shown_height, endpoint=True))
    return Donor(
        source_input=input_,
        source_id=id_,
        window=(left, top, left + shown_width, top + shown_height),
        region=region,
        scale=scale,
    )


def render(width: int, height: int, quarters: Sequence[Donor], pixels_of: Callable[[Donor], Pixels]) -> Pixels:
    """The (height, width, 3) pixels of a mosaic; `pixels_of` gives those of a quarter's whole picture."""
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    for quarter in quarters:
        x0, y0, x1, y1 = quarter.window
        left, top, right, bottom = quarter.region
        shown = pixels_of(quarter)[y0:y1, x0:x1]
        canvas[top:bottom, left:right] = resized(shown, right - left, bottom - top)
    return canvas


def labels(
    width: int, height: int, quarters: Sequence[Donor], labels_of: Callable[[Donor], Labels], own: tuple[int, int]
) -> Labels:
    """The labels of a mosaic: those of each quarter's window by the crop rule, resized and moved.

    `labels_of` gives them, with polygons that are not rasterised. Objects of other pictures than `own`, (input, id),
    name theirs.
    """
    shown: list[Annotation] = []
    outcomes: list[str] = []
    dropped = 0
    for quarter in quarters:
        of_window = labels_of(quarter)
        dropped += of_window.dropped
        fit = Fit(quarter, width, height)
        source = quarter.source_input, quarter.source_id
        for item, outcome in zip(of_window.annotations, of_window.outcomes, strict=True):
            moved = fit(item)
            if moved is None:
                dropped += 1
                continue
            if source != own:
                moved.source_input, moved.source_image_id = source
            shown.append(moved)
            outcomes.append(outcome)
    return Labels(shown, outcomes, dropped)


class Fit:
    """Annotations of a quarter's window in the coordinates of a width x height mosaic."""

    def __init__(self, quarter: Donor, width: int, height: int) -> None:
        x0, y0, x1, y1 = quarter.window
        left, top, right, bottom = quarter.region
        self._region, self._width, self._height = quarter.region, width, height
        self._across, self._down = (right - left) / (x1 - x0), (bottom - top) / (y1 - y0)
        # One factor and one shift for each of x, y.
        self._factors = np.array((self._across, self._down))
        self._shifts = np.array((left, top), dtype=np.float64)

    def __call__(self, item: Annotation) -> Annotation | None:
        """None where nothing is left."""
        left, top, right, bottom = self._region
        x, y, box_width, box_height = item.bbox
        x0, y0 = round(left + x * self._across, DECIMALS), round(top + y * self._down, DECIMALS)
        x1 = min(right, round(left + (x + box_width) * self._across, DECIMALS))
        y1 = min(bottom, round(top + (y + box_height) * self._down, DECIMALS))
        if (x1 - x0) * (y1 - y0) < MIN_PIECE_AREA:
            return None
        mask = item.segmentation
        if mask is not None:
            mask = self._runs(mask) if isinstance(mask, Rle) else self._polygons(mask, ignored=bool(item.iscrowd))
            if mask is None:
                return None
        return Annotation(
            id=0,
            image_id=0,
            category_id=item.category_id,
            bbox=(x0, y0, round(x1 - x0, DECIMALS), round(y1 - y0, DECIMALS)),
            # Never 0, which readers take for a missing area.
            area=round(item.area * self._across * self._down, DECIMALS) or round((x1 - x0) * (y1 - y0), DECIMALS),
            iscrowd=item.iscrowd,
            segmentation=mask,
            source_annotation_id=item.source_annotation_id,
        )

    def _polygons(self, polygons: Polygons, ignored: bool) -> Polygons | Rle | None:
        moved = tuple(
            (polygon.reshape(-1, 2) * self._factors + self._shifts).round(DECIMALS).reshape(-1) for polygon in polygons
        )
        return polygons_to_rle(moved, self._height, self._width) if ignored else moved

    def _runs(self, rle: Rle) -> Rle | None:
        """The nearest pixels, by way of a bitmap of the object alone, since an image may have hundreds."""
        left, top, right, bottom = self._region
        height, width = rle.size
        x0, y0, x1, y1 = map(int, rle_bounds(rle))
        columns, new_left = _nearest(width, right - left, x0, x1)
        rows, new_top = _nearest(height, bottom - top, y0, y1)
        if not len(columns) or not len(rows):
            return None
        bitmap = cut_out(rle, (x0, y0, x1, y1))[np.ix_(rows - y0, columns - x0)]
        if not bitmap.any():
            return None
        x, y = left + new_left, top + new_top
        region = x, y, x + len(columns), y + len(rows)
        whole = coco_runs.at(bitmap, region, self._height, self._width)
        return coco_runs.to_rle(whole, isinstance(rle.counts, str))


def _nearest(length: int, new_length: int, start: int, end: int) -> tuple[npt.NDArray[np.int64], int]:
    """Of a side that becomes `new_length` px: which old pixel each new one shows, from the first of those that show one
    of start to end - 1; and that first one.
    """
    shown = np.arange(new_length) * length // new_length
    first, last = np.searchsorted(shown, (start, end))
    return shown[first:last], int(first)
