"""What a build did, in sentences: its head, the operations, the crop rule."""

from __future__ import annotations

from collections import Counter

from augment.compiler.counts import Counts, warnings
from augment.operations.balance import Balance
from augment.operations.labels import DROP, IGNORE
from augment.operations.parameters import LabelRule
from augment.report.finished import Manifest
from datasets.records import Donor, Image

# Parts of other images that a caption names.
MOST_NAMED = 6
OPERATIONS = {
    "original": "the source image, byte for byte",
    "pixel": "other colours, noise or blur; nothing moves",
    "copy": "a copy with other colours or blur, of images with rare categories only",
    "center_crop": "a part around the middle of the image",
    "random_crop": "a part at a random place of the image",
    "paste": "objects cut out of other images, on top of the image",
    "mosaic": "parts of four images in one",
    "tile": "one piece of a large image",
    "turn": "the image mirrored, or turned by quarters, or both",
    "erase": "black squares in a regular grid over the image",
}


def spoken(operation: str) -> str:
    """The name of an operation as words."""
    return operation.replace("_", " ")


def done(image: Image) -> str:
    """What was done to an image: `pixel by Blur`, `turn (mirrored, 90 degrees)`."""
    text = spoken(image.operation or "")
    if image.transform is not None:
        return f"{text} by {image.transform}"
    if image.turn is None:
        return text
    parts = ["mirrored"] if image.turn.mirrored else []
    return f"{text} ({', '.join([*parts, f'{image.turn.degrees} degrees'] if image.turn.degrees else parts)})"


def donors(image: Image) -> str:
    """The parts of other images that an image shows; empty for none."""
    own = image.source_input or 0, image.source_id
    parts = [_donor(item) for item in image.donors if (item.source_input, item.source_id) != own]
    return ", ".join([*parts[:MOST_NAMED], f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else parts)


def _donor(donor: Donor) -> str:
    of_input = f" of input {donor.source_input + 1}" if donor.source_input else ""
    part = "" if donor.source_annotation_id is None else f"object {donor.source_annotation_id} of "
    return f"{part}image {donor.source_id}{of_input}"


def title(manifest: Manifest) -> str:
    return f"What {manifest.recipe.name} made of {' and '.join(item.annotations for item in manifest.inputs)}"


def headline(manifest: Manifest) -> str:
    """What was done to the data, for those who read nothing else."""
    images = manifest.counts.images
    made = f"The recipe {manifest.recipe.name}, with seed {manifest.recipe.seed}, made {images:,} images of "
    boxes = boxes_of(manifest)
    times = "" if boxes[0] in (0, boxes[1]) else f", {boxes[1] / boxes[0]:.1f} times as many"
    return (
        f"{made}{manifest.sources:,} source images, for a detector to be trained on. These have {boxes[0]:,} boxes to "
        f"learn from; the {images:,} have {boxes[1]:,}{times}."
    )


def lost(manifest: Manifest) -> str:
    """What became of the objects that are no longer whole."""
    ignored, dropped = (total(manifest, case) for case in (IGNORE, DROP))
    if not ignored + dropped:
        return "No object was cut, covered or lost."
    return (
        f"Where an object is cut or covered, too little of it may be left to learn from: {ignored:,} objects are "
        f"ignored, and {dropped:,} dropped, among them all that lie outside of what an image shows."
    )


def crop_rule(rule: LabelRule) -> str:
    """Keep, ignore and drop with a recipe's own thresholds."""
    visible, least = (f"{100 * share:g} %" for share in (rule.min_visible, rule.min_area_ratio))
    return (
        f"An object that is cut or covered is kept if at least {visible} of it is left and its box covers more than "
        f"{least} of the new image; it is ignored (found or not, a detector is neither rewarded nor punished) if less "
        f"than {visible} is left and its box covers more than {least}; and dropped, as if it were not there, otherwise."
    )


def boxes_of(manifest: Manifest) -> tuple[int, int]:
    """The boxes to learn from before and after: without crowds and ignored ones."""
    categories = manifest.counts.boxes_per_category
    return sum(item.before for item in categories), sum(item.after for item in categories)


def total(manifest: Manifest, case: str) -> int:
    """The objects of one of `labels.CASES` in all images."""
    return sum(getattr(item, case) for item in manifest.counts.operations.values())


def ratio(before: float, after: float) -> str:
    return f"{after / before:.1f}" if before else "-"


def notes(manifest: Manifest) -> list[str]:
    """What a reader of the numbers should know: a limit, a lack of originals, operations that did nothing."""
    found = []
    if manifest.limit is not None:
        found.append(f"Only the first {manifest.limit:,} source images were taken (--limit).")
    if not manifest.has_originals:
        found.append(
            "The recipe keeps no originals. With nothing to compare with, neither the sizes before nor which objects "
            "were dropped is known here, but for the sums; crowds count as ignored, all others as kept."
        )
    return [*found, *(f"Warning: {warning}." for warning in _warnings(manifest))]


def _warnings(manifest: Manifest) -> list[str]:
    """Those of the build about its recipe; none with a limit, as balance counts the images beyond it too."""
    if manifest.limit is not None:
        return []
    counts = Counts.empty()
    counts.images.update({name: item.images for name, item in manifest.counts.operations.items()})
    before = Counter({item.id: item.before for item in manifest.counts.boxes_per_category})
    return warnings(counts, manifest.recipe, Balance(before, manifest.sources), manifest.sources)
