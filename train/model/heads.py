"""Ignore masks in Detectron2's RPN and ROI heads (see `train.model.ignore` for the rule).

Each class calls its parent with ignored boxes taken out of the targets, and removes negatives that lie in one from the
samples. Without ignored boxes nothing differs, not even the random numbers drawn. Positives always win: what matches a
kept object is trained, whether it lies in an ignored box or not.

N: candidates of an image (anchors, proposals, or boxes of a cascade stage)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from train import compat  # noqa: F401 - before detectron2

# isort: split
from detectron2.config import configurable
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.structures import Boxes, Instances

from train.model.ignore import background_threshold, lies_in_ignored, split_ignored
from train.model.masked import with_masks


class IgnoreAwareRPN(RPN):  # type: ignore[misc]
    """An RPN in which negative anchors inside an ignored box get the label -1, which the loss excludes."""

    @configurable  # type: ignore[untyped-decorator]
    def __init__(self, *, min_ioa: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_ioa = min_ioa
        # Set while anchors are labelled: one entry per image, in the parent's order.
        self._ignore_masks: Iterator[torch.Tensor | None] = iter(())

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, Any]) -> dict[str, Any]:
        return {**super().from_config(cfg, input_shape), "min_ioa": cfg.MODEL.IGNORE.MIN_IOA}

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        kept, ignored = split_ignored(gt_instances)
        min_iou = background_threshold(self.anchor_matcher.thresholds)
        candidates = Boxes.cat(anchors)
        self._ignore_masks = iter(
            [
                lies_in_ignored(_visible(candidates, target.image_size), boxes, self.min_ioa, min_iou)
                if len(boxes)
                else None
                for boxes, target in zip(ignored, gt_instances, strict=True)
            ]
        )
        labelled: tuple[list[torch.Tensor], list[torch.Tensor]] = super().label_and_sample_anchors(anchors, kept)
        return labelled

    def _subsample_labels(self, label: torch.Tensor) -> torch.Tensor:
        ignore_mask = next(self._ignore_masks)
        if ignore_mask is not None:
            label[(label == 0) & ignore_mask] = -1
        sampled: torch.Tensor = super()._subsample_labels(label)
        return sampled


def _visible(anchors: Boxes, image_size: tuple[int, int]) -> Boxes:
    """The part of each anchor inside the image. Truncated objects touch its border, which most anchors there exceed."""
    visible = Boxes(anchors.tensor.clone())
    visible.clip(image_size)
    return visible


class _IgnoreAware:
    """Mixin for ROIHeads: negative proposals inside an ignored box are not sampled, and objects without a mask do not
    train the mask head.
    """

    num_classes: int
    proposal_matcher: Matcher
    training: bool
    _ignore_masks: Iterator[torch.Tensor | None]

    @configurable  # type: ignore[untyped-decorator]
    def __init__(self, *, min_ioa: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_ioa = min_ioa

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, Any]) -> dict[str, Any]:
        parent: dict[str, Any] = super().from_config(cfg, input_shape)  # type: ignore[misc]
        return {**parent, "min_ioa": cfg.MODEL.IGNORE.MIN_IOA}

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        kept, ignored = split_ignored(targets)
        self._ignore_masks = iter(
            [
                self._lies_in_ignored(image.proposal_boxes, boxes, self.proposal_matcher)
                for image, boxes in zip(proposals, ignored, strict=True)
            ]
        )
        sampled: list[Instances] = super().label_and_sample_proposals(proposals, kept)  # type: ignore[misc]
        return sampled

    def _forward_mask(self, features: dict[str, torch.Tensor], instances: list[Instances]) -> Any:
        return super()._forward_mask(features, with_masks(instances) if self.training else instances)  # type: ignore[misc]

    def _lies_in_ignored(self, candidates: Boxes, ignored: Boxes, matcher: Matcher) -> torch.Tensor | None:
        return lies_in_ignored(candidates, ignored, self.min_ioa, background_threshold(matcher.thresholds))

    def _sample_proposals(
        self, matched_idxs: torch.Tensor, matched_labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ignore_mask = next(self._ignore_masks)
        if ignore_mask is not None:
            # The parent appends the kept objects to the proposals; these match themselves.
            appended = ignore_mask.new_zeros(len(matched_labels) - len(ignore_mask))
            matched_labels[(matched_labels == 0) & torch.cat([ignore_mask, appended])] = -1
            if gt_classes.numel() == 0:
                # Without a kept object, the parent labels everything as background without looking at labels. A list of
                # background classes means the same and makes it look.
                gt_classes = gt_classes.new_full((1,), self.num_classes)
        sampled: tuple[torch.Tensor, torch.Tensor] = super()._sample_proposals(  # type: ignore[misc]
            matched_idxs, matched_labels, gt_classes
        )
        return sampled


class IgnoreAwareROIHeads(_IgnoreAware, StandardROIHeads):  # type: ignore[misc]
    """StandardROIHeads that exclude proposals in ignored boxes."""


class IgnoreAwareCascadeROIHeads(_IgnoreAware, CascadeROIHeads):  # type: ignore[misc]
    """CascadeROIHeads that exclude boxes in ignored boxes, in every stage."""

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: list[Instances]
    ) -> list[Instances]:
        kept, ignored = split_ignored(targets)
        labelled = super()._match_and_label_boxes(proposals, stage, kept)
        return [
            self._without_ignored(image, boxes, self.proposal_matchers[stage])
            for image, boxes in zip(labelled, ignored, strict=True)
        ]

    def _without_ignored(self, image: Instances, ignored: Boxes, matcher: Matcher) -> Instances:
        ignore_mask = self._lies_in_ignored(image.proposal_boxes, ignored, matcher)
        # Removed, not labelled -1: the loss of later stages takes every label as a class.
        return image if ignore_mask is None else image[~(ignore_mask & (image.gt_classes == self.num_classes))]


def register() -> None:
    """Register the classes with Detectron2 under the names in train/configs/base.yaml; may be called repeatedly."""
    for registry, classes in (
        (PROPOSAL_GENERATOR_REGISTRY, [IgnoreAwareRPN]),
        (ROI_HEADS_REGISTRY, [IgnoreAwareROIHeads, IgnoreAwareCascadeROIHeads]),
    ):
        for item in classes:
            if item.__name__ not in registry:
                registry.register(item)
