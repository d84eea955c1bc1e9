"""Every key of the configuration: obeyed here, or refused with what to use instead.

A key that is silently ignored costs days. So each leaf of Detectron2's configuration and of ours is in one of two
tables, and a test goes through all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

OTHER_MODELS = "this project trains Mask R-CNN and Faster R-CNN, with a cascade or without"
KEYPOINTS = "this project has no keypoints"
BALANCED = "`augment`'s recipe balanced copies images of rare categories"
GIVEN = "--data and --val (or --val-annotations) name the data"

# Key, or prefix ending in a dot -> what to use instead.
REFUSED: Mapping[str, str] = {
    "MODEL.LOAD_PROPOSALS": "proposals are always the model's own",
    "MODEL.KEYPOINT_ON": KEYPOINTS,
    "MODEL.ANCHOR_GENERATOR.ANGLES": "boxes are upright here",
    "MODEL.ROI_KEYPOINT_HEAD.": KEYPOINTS,
    "MODEL.SEM_SEG_HEAD.": OTHER_MODELS,
    "MODEL.PANOPTIC_FPN.": OTHER_MODELS,
    "MODEL.RETINANET.": OTHER_MODELS,
    "MODEL.RESNETS.DEFORM_": "deformable convolutions need Detectron2's compiled operators",
    "INPUT.CROP.": "crops are `augment`'s, by a build or --online, which knows what to do with objects that they cut",
    "DATASETS.": GIVEN,
    "DATALOADER.SAMPLER_TRAIN": f"every epoch has each image once, in a seeded order; {BALANCED}",
    "DATALOADER.REPEAT_THRESHOLD": BALANCED,
    "SOLVER.LR_SCHEDULER_NAME": "SOLVER.LR_SCHEDULE, steps or cosine",
    "SOLVER.STEPS": "SOLVER.STEP_EPOCHS, in epochs",
    "SOLVER.WARMUP_ITERS": "SOLVER.WARMUP_EPOCHS, in epochs",
    "SOLVER.REFERENCE_WORLD_SIZE": "SOLVER.REFERENCE_BATCH: the learning rate follows the batch for any number of GPUs",
    "TEST.EXPECTED_RESULTS": "AP is in metrics.json; compare it there",
    "TEST.EVAL_PERIOD": "SOLVER.VALIDATE_EPOCHS, in epochs",
    "TEST.KEYPOINT_OKS_SIGMAS": KEYPOINTS,
    "TEST.PRECISE_BN.": "this trainer has no such thing",
    "TEST.AUG.ENABLED": "`predict --tta`",
    "OUTPUT_DIR": "--output",
    "CUDNN_BENCHMARK": "kernels would be tried out again for every image size at every step",
    "VIS_PERIOD": "`scripts/draw_variants.py` shows training images",
    "GLOBAL.HACK": "nothing here reads it",
}
# Keys whose default means something in Detectron2, so that even the default is refused when set explicitly.
REFUSED_AT_ANY_VALUE = ("SOLVER.LR_SCHEDULER_NAME", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS", "OUTPUT_DIR")


class OnlyWith(NamedTuple):
    """Keys that only some models obey: those whose `key` has this value, or with `unless` any other value."""

    key: str
    value: str
    unless: bool = False

    def holds(self, values: Mapping[str, Any]) -> bool:
        return (values.get(self.key) == self.value) != self.unless

    def __str__(self) -> str:
        return f"models {'without' if self.unless else 'with'} {self.key} {self.value}"


CASCADE = OnlyWith("MODEL.ROI_HEADS.NAME", "IgnoreAwareCascadeROIHeads")
NO_CASCADE = CASCADE._replace(unless=True)
RESNEST = OnlyWith("MODEL.BACKBONE.NAME", "build_resnest_fpn_backbone")
NO_RESNEST = RESNEST._replace(unless=True)

CONDITIONAL: Mapping[str, OnlyWith] = {
    "MODEL.RPN.SMOOTH_L1_BETA": OnlyWith("MODEL.RPN.BBOX_REG_LOSS_TYPE", "smooth_l1"),
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": OnlyWith("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "smooth_l1"),
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": CASCADE,
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": CASCADE,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": NO_CASCADE,
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": NO_CASCADE,
    "MODEL.RESNEST.NAME": RESNEST,
    "MODEL.RESNETS.DEPTH": NO_RESNEST,
    "MODEL.RESNETS.NUM_GROUPS": NO_RESNEST,
    "MODEL.RESNETS.WIDTH_PER_GROUP": NO_RESNEST,
    "MODEL.RESNETS.STRIDE_IN_1X1": NO_RESNEST,
    "MODEL.RESNETS.RES5_DILATION": NO_RESNEST,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": NO_RESNEST,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": NO_RESNEST,
}

# Keys that are read here or in Detectron2's Mask R-CNN, by section.
OBEYED: Mapping[str, tuple[str, ...]] = {
    "": ("VERSION", "SEED", "LOGGERS"),
    "MODEL": (
        "MASK_ON",
        "DEVICE",
        "META_ARCHITECTURE",
        "WEIGHTS",
        "PIXEL_MEAN",
        "PIXEL_STD",
        "CHECKPOINT_ACTIVATIONS",
    ),
    "MODEL.IGNORE": ("MIN_IOA",),
    "MODEL.LOSS_WEIGHTS": ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"),
    "MODEL.BACKBONE": ("NAME", "FREEZE_AT"),
    "MODEL.FPN": ("IN_FEATURES", "OUT_CHANNELS", "NORM", "FUSE_TYPE"),
    "MODEL.PROPOSAL_GENERATOR": ("NAME", "MIN_SIZE"),
    "MODEL.ANCHOR_GENERATOR": ("NAME", "SIZES", "ASPECT_RATIOS", "OFFSET"),
    "MODEL.RPN": (
        "HEAD_NAME",
        "IN_FEATURES",
        "BOUNDARY_THRESH",
        "IOU_THRESHOLDS",
        "IOU_LABELS",
        "BATCH_SIZE_PER_IMAGE",
        "POSITIVE_FRACTION",
        "BBOX_REG_LOSS_TYPE",
        "BBOX_REG_LOSS_WEIGHT",
        "BBOX_REG_WEIGHTS",
        "LOSS_WEIGHT",
        "PRE_NMS_TOPK_TRAIN",
        "PRE_NMS_TOPK_TEST",
        "POST_NMS_TOPK_TRAIN",
        "POST_NMS_TOPK_TEST",
        "NMS_THRESH",
        "CONV_DIMS",
    ),
    "MODEL.ROI_HEADS": (
        "NAME",
        "NUM_CLASSES",
        "IN_FEATURES",
        "IOU_THRESHOLDS",
        "IOU_LABELS",
        "BATCH_SIZE_PER_IMAGE",
        "POSITIVE_FRACTION",
        "SCORE_THRESH_TEST",
        "NMS_THRESH_TEST",
        "PROPOSAL_APPEND_GT",
    ),
    "MODEL.ROI_BOX_HEAD": (
        "NAME",
        "BBOX_REG_LOSS_TYPE",
        "BBOX_REG_LOSS_WEIGHT",
        "POOLER_RESOLUTION",
        "POOLER_SAMPLING_RATIO",
        "POOLER_TYPE",
        "NUM_FC",
        "FC_DIM",
        "NUM_CONV",
        "CONV_DIM",
        "NORM",
        "CLS_AGNOSTIC_BBOX_REG",
    ),
    "MODEL.ROI_MASK_HEAD": (
        "NAME",
        "POOLER_RESOLUTION",
        "POOLER_SAMPLING_RATIO",
        "POOLER_TYPE",
        "NUM_CONV",
        "CONV_DIM",
        "NORM",
        "CLS_AGNOSTIC_MASK",
    ),
    "MODEL.RESNETS": ("OUT_FEATURES", "NORM", "ZERO_INIT_LAST_NORM"),
    "INPUT": (
        "MIN_SIZE_TRAIN",
        "MIN_SIZE_TRAIN_SAMPLING",
        "MAX_SIZE_TRAIN",
        "MIN_SIZE_TEST",
        "MAX_SIZE_TEST",
        "RANDOM_FLIP",
        "FORMAT",
        "MASK_FORMAT",
        "SCALE",
        "CANVAS",
        "SIZE_STEPS",
        "ONLINE_OFF_EPOCHS",
    ),
    "DATALOADER": ("NUM_WORKERS", "ASPECT_RATIO_GROUPING", "FILTER_EMPTY_ANNOTATIONS"),
    "SOLVER": (
        "LR_SCHEDULE",
        "MAX_ITER",
        "BASE_LR",
        "MOMENTUM",
        "NESTEROV",
        "WEIGHT_DECAY",
        "WEIGHT_DECAY_NORM",
        "WEIGHT_DECAY_BIAS",
        "BIAS_LR_FACTOR",
        "GAMMA",
        "WARMUP_FACTOR",
        "WARMUP_METHOD",
        "CHECKPOINT_PERIOD",
        "IMS_PER_BATCH",
        "FINETUNE",
        "EPOCHS",
        "STEP_EPOCHS",
        "WARMUP_EPOCHS",
        "REFERENCE_BATCH",
        "ACCUMULATE",
        "MAX_TO_KEEP",
        "EMA",
        "SMALL",
        "VALIDATE_EPOCHS",
        "PATIENCE",
    ),
    "SOLVER.AMP": ("ENABLED", "DTYPE"),
    "SOLVER.CLIP_GRADIENTS": ("ENABLED", "CLIP_TYPE", "CLIP_VALUE", "NORM_TYPE"),
    "TEST": ("DETECTIONS_PER_IMAGE",),
    "TEST.AUG": ("MIN_SIZES", "MAX_SIZE", "FLIP"),
}
# Keys of training only; `predict` has no use for them.
TRAINING = (
    "SOLVER.",
    "SEED",
    "LOGGERS",
    "MODEL.WEIGHTS",
    "MODEL.LOSS_WEIGHTS.",
    "MODEL.IGNORE.",
    "MODEL.CHECKPOINT_ACTIVATIONS",
    "MODEL.BACKBONE.FREEZE_AT",
    "INPUT.MIN_SIZE_TRAIN",
    "INPUT.MIN_SIZE_TRAIN_",
    "INPUT.MAX_SIZE_TRAIN",
    "INPUT.RANDOM_FLIP",
    "INPUT.MASK_FORMAT",
    "INPUT.SCALE",
    "INPUT.CANVAS",
    "INPUT.SIZE_STEPS",
    "INPUT.ONLINE_OFF_EPOCHS",
    "DATALOADER.ASPECT_RATIO_GROUPING",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS",
)


def obeyed() -> set[str]:
    """All keys that some model obeys."""
    plain = {f"{section}.{name}".removeprefix(".") for section, names in OBEYED.items() for name in names}
    return plain | set(CONDITIONAL)


def remedy(key: str) -> str:
    """What to use instead of a key; empty for an obeyed one."""
    return next((text for begin, text in REFUSED.items() if _begins(key, begin)), "")


def ignored(values: Mapping[str, Any], *references: Mapping[str, Any]) -> list[str]:
    """A problem for each key that is set and would be ignored; all are dotted key -> value.

    `references` are Detectron2's defaults and ours: their values were not asked for.
    """
    problems = []
    for key, value in values.items():
        if any(key in known and known[key] == value for known in references):
            continue
        instead = remedy(key)
        if instead:
            problems.append(f"{key}: not obeyed here, found {value!r}; {instead}")
        elif key in CONDITIONAL and not CONDITIONAL[key].holds(values):
            problems.append(f"{key}: for {CONDITIONAL[key]} only, found {value!r}")
    return problems


def asked_for(keys: list[str]) -> list[str]:
    """A problem for each key that is set by name and would be ignored at any value."""
    return [f"{key}: not obeyed here; {remedy(key)}" for key in keys if key in REFUSED_AT_ANY_VALUE]


def refused(keys: list[str]) -> list[str]:
    """A problem for each key that is set by name and not obeyed."""
    return [f"{key}: not obeyed here; {remedy(key)}" for key in keys if remedy(key)]


def of_training(keys: list[str]) -> list[str]:
    """A problem for each key that `predict` has no use for."""
    # Mixed precision applies to both.
    own = [key for key in keys if not key.startswith("SOLVER.AMP.")]
    return [f"{key}: for training only" for key in own if any(_begins(key, begin) for begin in TRAINING)]


def _begins(key: str, begin: str) -> bool:
    """Whether `key` equals `begin`, or starts with it where it ends in a dot or an underscore."""
    return key == begin or (begin[-1] in "._" and key.startswith(begin))
