"""The good files that are broken: a small dataset with all that records can hold, results on it, one picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from datasets.sample import CROWDED, EMPTY, GREYSCALE, TURNED, write_sample
from datasets.sources import Input

# Images of the drawn sample, by their places in it: two crowded, a grey one, one turned by EXIF, an empty one.
PLACES = (*CROWDED, GREYSCALE, TURNED, EMPTY)


class Material(NamedTuple):
    """`folder` has annotations.json, images/ and results.json, good ones, which nothing may change."""

    folder: Path
    annotations: dict[str, Any]
    results: list[dict[str, Any]]

    @property
    def images(self) -> Path:
        return self.folder / "images"


def made(folder: Path) -> Material:
    """Draw it into a new folder."""
    (source,) = few(folder, ("train",), PLACES)
    annotations = json.loads(source.annotations.read_bytes())
    annotations["annotations"] = _with_texts(annotations["annotations"])
    detected = _detected(annotations)
    source.annotations.replace(folder / "annotations.json").write_text(json.dumps(annotations))
    (folder / "train").rename(folder / "images")
    (folder / "results.json").write_text(json.dumps(detected))
    return Material(folder, annotations, detected)


def few(folder: Path, splits: Sequence[str], places: Iterable[int]) -> list[Input]:
    """Some images of the drawn sample's splits, by their places in each: FOLDER/SPLIT.json and FOLDER/SPLIT/."""
    places = list(places)
    found = []
    sample = folder / "sample"
    write_sample(sample)
    for split in splits:
        whole = json.loads((sample / "annotations" / f"instances_{split}.json").read_bytes())
        images = [whole["images"][place] for place in places]
        ids = {image["id"] for image in images}
        objects = [item for item in whole["annotations"] if item["image_id"] in ids]
        given = Input(folder / f"{split}.json", folder / split)
        given.annotations.write_text(json.dumps({**whole, "images": images, "annotations": objects}))
        given.images.mkdir()
        for image in images:
            shutil.copy(sample / split / image["file_name"], given.images)
        found.append(given)
    shutil.rmtree(sample)
    return found


def _with_texts(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A crowd's mask as COCO's text of runs, the others' as the lists they are: both ways, where there are two."""
    for item in [item for item in objects if item["iscrowd"]][1::2] or [item for item in objects if item["iscrowd"]]:
        mask = item["segmentation"]
        text = coco_mask.frPyObjects(mask, *mask["size"])["counts"]
        item["segmentation"] = {"size": mask["size"], "counts": text.decode()}
    return objects


def _detected(annotations: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects, a little off, with scores; some once more, further off."""
    noise = np.random.default_rng(0)
    found = []
    for item in annotations["annotations"]:
        for spread, sure in ((0.05, 0.9), (0.2, 0.4)):
            x, y, width, height = item["bbox"]
            shift = noise.normal(0, spread, 4) * (width, height, width, height)
            box = [
                round(float(value), 2)
                for value in (x + shift[0], y + shift[1], *np.abs(np.add((width, height), shift[2:])))
            ]
            found.append(
                {
                    "image_id": item["image_id"],
                    "category_id": item["category_id"],
                    "bbox": box,
                    "score": round(float(noise.uniform(sure - 0.3, sure)), 4),
                }
            )
    return found
