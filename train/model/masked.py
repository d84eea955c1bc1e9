"""Objects without a mask, in datasets that have masks of some objects only: they train their boxes, not the masks."""

from __future__ import annotations

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.structures import Instances

# The field of targets that marks objects with a mask. `gt_...`: Detectron2 copies such fields to proposals.
MASKED = "gt_masked"


def with_masks(proposals: list[Instances]) -> list[Instances]:
    """The proposals of each image whose objects have masks; all where the dataset marks none.

    An image without objects has no field, and no proposal that a mask loss would use.
    """
    return [image[image.get(MASKED)] if image.has(MASKED) else image for image in proposals]
