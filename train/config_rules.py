"""Rules for the values of single keys, and for keys that must agree: pure functions with the text of what was
expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

RESNET_DEPTHS = (18, 34, 50, 101, 152)
STAGES = ("stem", "res2", "res3", "res4", "res5")
# Detectron2's names; "" is none.
NORMS = ("", "BN", "SyncBN", "FrozenBN", "GN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "LN")
BOX_LOSSES = ("smooth_l1", "giou", "diou", "ciou")
LOGGERS = ("tensorboard", "wandb", "mlflow")
POOLERS = ("ROIAlign", "ROIAlignV2", "ROIPool")
# Of a canvas's side: 0.8 GB an image.
MOST_PIXELS = 16_384
# Group norm has Detectron2's 32 groups.
GROUPS = 32


class Rule(NamedTuple):
    """`is_good` decides whether a value is allowed; `expected` is the text for the error."""

    expected: str
    is_good: Callable[[Any], bool]

    def problem(self, key: str, value: Any) -> str:
        return "" if self.is_good(value) else f"{key}: expected {self.expected}, found {value!r}"


def one_of(*choices: Any) -> Rule:
    names = [repr(choice) if choice == "" else str(choice) for choice in choices]
    expected = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return Rule(expected, lambda value: value in choices)


def some_of(*choices: str) -> Rule:
    """Lists, possibly empty, of different choices."""
    return Rule(
        f"a list of {one_of(*choices).expected}, each once at most, or []",
        lambda value: (
            isinstance(value, (list, tuple)) and all(value.count(item) == 1 <= choices.count(item) for item in value)
        ),
    )


def whole(least: int) -> Rule:
    return Rule(f"a whole number of {least} or more", lambda value: _is_whole(value) and value >= least)


def number(least: float, most: float = math.inf, *, open_: bool = False) -> Rule:
    """Numbers from `least`, or above it with `open_`, to `most`."""
    start = f"above {least:g}" if open_ else f"of {least:g} or more"
    until = "" if most == math.inf else f", at most {most:g}"
    return Rule(
        f"a number {start}{until}",
        lambda value: _is_number(value) and (value > least if open_ else value >= least) and value <= most,
    )


def every(rule: Rule, *, length: int | None = None, rising: bool = False) -> Rule:
    """Lists, of this length if it is given, whose every item follows the rule."""
    count = "a list" if length is None else f"a list of {length}"
    order = ", rising" if rising else ""

    def is_good(value: Any) -> bool:
        if not isinstance(value, (list, tuple)) or not value or (length is not None and len(value) != length):
            return False
        return all(map(rule.is_good, value)) and (not rising or sorted(set(value)) == list(value))

    return Rule(f"{count}, each {rule.expected}{order}", is_good)


def or_none(rule: Rule) -> Rule:
    return Rule(f"{rule.expected}, or nothing", lambda value: value is None or rule.is_good(value))


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


SHARE = number(0, 1)
ABOVE_0 = number(0, open_=True)
NOT_NEGATIVE = number(0)
BELOW_1 = Rule("a number of 0 or more, below 1", lambda value: _is_number(value) and 0 <= value < 1)
CHANNELS = Rule("-1 or a whole number above 0", lambda value: _is_whole(value) and (value == -1 or value > 0))
NORM = one_of(*NORMS)

RULES: Mapping[str, Rule] = {
    "LOGGERS": some_of(*LOGGERS),
    "MODEL.PIXEL_MEAN": every(Rule("a number", _is_number), length=3),
    "MODEL.PIXEL_STD": every(ABOVE_0, length=3),
    "MODEL.META_ARCHITECTURE": one_of("GeneralizedRCNN"),
    "MODEL.DEVICE": one_of("auto", "cpu", "cuda"),
    "MODEL.BACKBONE.NAME": one_of("build_resnet_fpn_backbone", "build_resnest_fpn_backbone"),
    "MODEL.BACKBONE.FREEZE_AT": one_of(0, 1, 2, 3, 4, 5),
    "MODEL.RESNETS.DEPTH": one_of(*RESNET_DEPTHS),
    "MODEL.RESNETS.OUT_FEATURES": every(one_of(*STAGES)),
    "MODEL.RESNETS.NORM": NORM,
    "MODEL.RESNETS.NUM_GROUPS": whole(1),
    "MODEL.RESNETS.WIDTH_PER_GROUP": whole(1),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": whole(1),
    "MODEL.RESNETS.STEM_OUT_CHANNELS": whole(1),
    # A feature pyramid needs strides that double from stage to stage.
    "MODEL.RESNETS.RES5_DILATION": one_of(1),
    "MODEL.FPN.OUT_CHANNELS": whole(1),
    "MODEL.FPN.NORM": NORM,
    "MODEL.FPN.FUSE_TYPE": one_of("sum", "avg"),
    "MODEL.PROPOSAL_GENERATOR.NAME": one_of("IgnoreAwareRPN"),
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": NOT_NEGATIVE,
    "MODEL.ANCHOR_GENERATOR.NAME": one_of("DefaultAnchorGenerator"),
    "MODEL.ANCHOR_GENERATOR.SIZES": every(every(ABOVE_0)),
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": every(every(ABOVE_0)),
    "MODEL.ANCHOR_GENERATOR.OFFSET": BELOW_1,
    "MODEL.RPN.HEAD_NAME": one_of("StandardRPNHead"),
    "MODEL.RPN.IOU_THRESHOLDS": every(SHARE, length=2, rising=True),
    "MODEL.RPN.IOU_LABELS": every(one_of(-1, 0, 1), length=3),
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": whole(1),
    "MODEL.RPN.POSITIVE_FRACTION": SHARE,
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": one_of(*BOX_LOSSES),
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": NOT_NEGATIVE,
    "MODEL.RPN.BBOX_REG_WEIGHTS": every(ABOVE_0, length=4),
    "MODEL.RPN.SMOOTH_L1_BETA": NOT_NEGATIVE,
    "MODEL.RPN.LOSS_WEIGHT": NOT_NEGATIVE,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": whole(1),
    "MODEL.RPN.PRE_NMS_TOPK_TEST": whole(1),
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": whole(1),
    "MODEL.RPN.POST_NMS_TOPK_TEST": whole(1),
    "MODEL.RPN.NMS_THRESH": SHARE,
    "MODEL.RPN.CONV_DIMS": every(CHANNELS),
    "MODEL.ROI_HEADS.NAME": one_of("IgnoreAwareROIHeads", "IgnoreAwareCascadeROIHeads"),
    "MODEL.ROI_HEADS.NUM_CLASSES": whole(1),
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": every(SHARE, length=1),
    "MODEL.ROI_HEADS.IOU_LABELS": every(one_of(0, 1), length=2),
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": whole(1),
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": SHARE,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": SHARE,
    "MODEL.ROI_BOX_HEAD.NAME": one_of("FastRCNNConvFCHead"),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": one_of(*BOX_LOSSES),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": NOT_NEGATIVE,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": every(ABOVE_0, length=4),
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": NOT_NEGATIVE,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": whole(1),
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": whole(0),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": one_of(*POOLERS),
    "MODEL.ROI_BOX_HEAD.NUM_FC": whole(0),
    "MODEL.ROI_BOX_HEAD.FC_DIM": whole(1),
    "MODEL.ROI_BOX_HEAD.NUM_CONV": whole(0),
    "MODEL.ROI_BOX_HEAD.CONV_DIM": whole(1),
    "MODEL.ROI_BOX_HEAD.NORM": NORM,
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": every(every(ABOVE_0, length=4)),
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": every(SHARE),
    "MODEL.ROI_MASK_HEAD.NAME": one_of("MaskRCNNConvUpsampleHead"),
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": whole(1),
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": whole(0),
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": one_of(*POOLERS),
    "MODEL.ROI_MASK_HEAD.NUM_CONV": whole(0),
    "MODEL.ROI_MASK_HEAD.CONV_DIM": whole(1),
    "MODEL.ROI_MASK_HEAD.NORM": NORM,
    "INPUT.FORMAT": one_of("BGR", "RGB"),
    "INPUT.RANDOM_FLIP": one_of("horizontal", "none"),
    "INPUT.MASK_FORMAT": one_of("polygon"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": one_of("choice", "range"),
    "INPUT.SCALE": one_of("picture", "source"),
    "INPUT.CANVAS": Rule(
        f"a whole number from 0 to {MOST_PIXELS}", lambda value: _is_whole(value) and 0 <= value <= MOST_PIXELS
    ),
    "INPUT.ONLINE_OFF_EPOCHS": NOT_NEGATIVE,
    "DATALOADER.NUM_WORKERS": whole(0),
    "SOLVER.LR_SCHEDULE": one_of("steps", "cosine"),
    "SOLVER.MAX_ITER": whole(0),
    "SOLVER.EMA": BELOW_1,
    "SOLVER.VALIDATE_EPOCHS": whole(1),
    "SOLVER.MOMENTUM": BELOW_1,
    "SOLVER.WEIGHT_DECAY": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_NORM": or_none(NOT_NEGATIVE),
    "SOLVER.WEIGHT_DECAY_BIAS": or_none(NOT_NEGATIVE),
    "SOLVER.BIAS_LR_FACTOR": or_none(ABOVE_0),
    "SOLVER.GAMMA": number(0, 1, open_=True),
    "SOLVER.WARMUP_FACTOR": SHARE,
    "SOLVER.WARMUP_METHOD": one_of("linear", "constant"),
    "SOLVER.CHECKPOINT_PERIOD": whole(0),
    "SOLVER.IMS_PER_BATCH": whole(1),
    "SOLVER.MAX_TO_KEEP": whole(-1),
    "SOLVER.PATIENCE": whole(0),
    "SOLVER.AMP.DTYPE": one_of("fp16", "bf16", "auto"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of("value", "norm"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": ABOVE_0,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule(
        "a number above 0 (inf is the largest value)", lambda value: type(value) in (int, float) and value > 0
    ),
    "TEST.DETECTIONS_PER_IMAGE": whole(1),
}


def broken(values: Mapping[str, Any]) -> list[str]:
    """A problem for each value that breaks its own rule; dotted key -> value."""
    problems = (rule.problem(key, values[key]) for key, rule in RULES.items() if key in values)
    return [problem for problem in problems if problem]


def disagreeing(values: Mapping[str, Any]) -> list[str]:
    """A problem for each pair of keys that do not go together; each value follows its own rule already."""
    return [*_features(values), *_anchors(values), *_groups(values), *_cascade(values)]


def _features(values: Mapping[str, Any]) -> list[str]:
    """Each part of the network gets feature maps that the one before it provides."""
    stages = [stage for stage in STAGES[1:] if stage in values["MODEL.RESNETS.OUT_FEATURES"]]
    used = list(values["MODEL.FPN.IN_FEATURES"])
    runs = [stages[at:end] for at in range(len(stages)) for end in range(at + 1, len(stages) + 1)]
    # No stage in between may be left out: each level of the pyramid is added to the next.
    if used not in [run for run in runs if STAGES.index(run[-1]) - STAGES.index(run[0]) == len(run) - 1]:
        return [
            f"MODEL.FPN.IN_FEATURES: expected some of {', '.join(stages)}, as MODEL.RESNETS.OUT_FEATURES has them, in "
            f"this order and without a gap, found {used}"
        ]
    levels = [stage.replace("res", "p") for stage in used]
    levels.append(f"p{int(levels[-1][1:]) + 1}")
    problems = []
    for key, offered in (("MODEL.RPN.IN_FEATURES", levels), ("MODEL.ROI_HEADS.IN_FEATURES", levels[:-1])):
        wanted = list(values[key])
        if not wanted or not set(wanted) <= set(offered) or len(set(wanted)) < len(wanted):
            problems.append(f"{key}: expected some of {', '.join(offered)}, found {wanted}")
    return problems


def _anchors(values: Mapping[str, Any]) -> list[str]:
    """Sizes and ratios are given once, or per level; each level has equally many anchors per location."""
    levels = len(values["MODEL.RPN.IN_FEATURES"])
    problems = []
    counts = []
    for key in ("MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"):
        lists = values[key]
        if len(lists) not in (1, levels):
            problems.append(
                f"{key}: expected one list, or one for each of the {levels} levels of MODEL.RPN.IN_FEATURES, "
                f"found {len(lists)}"
            )
        counts.append({len(each) for each in lists})
    if not problems and any(len(each) > 1 for each in counts):
        problems.append(
            "MODEL.ANCHOR_GENERATOR: expected as many sizes and ratios for each level, found different numbers"
        )
    return problems


def _groups(values: Mapping[str, Any]) -> list[str]:
    """Group norm divides channels into 32 groups."""
    heads = [head for head in ("MODEL.ROI_BOX_HEAD", "MODEL.ROI_MASK_HEAD") if values[f"{head}.NUM_CONV"]]
    channels = [
        ("MODEL.FPN.NORM", "MODEL.FPN.OUT_CHANNELS", 1),
        *((f"{head}.NORM", f"{head}.CONV_DIM", 1) for head in heads),
    ]
    if values["MODEL.BACKBONE.NAME"] == "build_resnet_fpn_backbone":
        groups = values["MODEL.RESNETS.NUM_GROUPS"]
        channels += [
            ("MODEL.RESNETS.NORM", "MODEL.RESNETS.STEM_OUT_CHANNELS", 1),
            ("MODEL.RESNETS.NORM", "MODEL.RESNETS.RES2_OUT_CHANNELS", 1),
            ("MODEL.RESNETS.NORM", "MODEL.RESNETS.WIDTH_PER_GROUP", groups),
        ]
    return [
        f"{key}: expected a multiple of {GROUPS // math.gcd(GROUPS, times)}, since {norm} GN has {GROUPS} groups, "
        f"found {values[key]}"
        for norm, key, times in channels
        if values[norm] == "GN" and values[key] * times % GROUPS
    ]


def _cascade(values: Mapping[str, Any]) -> list[str]:
    if values["MODEL.ROI_HEADS.NAME"] != "IgnoreAwareCascadeROIHeads":
        return []
    problems = []
    if not values["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"]:
        problems.append(
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG: expected True, since each stage of a cascade refines the "
            "box of the one before whatever its category, found False"
        )
    ious: Sequence[float] = values["MODEL.ROI_BOX_CASCADE_HEAD.IOUS"]
    weights = values["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS"]
    if len(ious) != len(weights):
        problems.append(
            f"MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS: expected one for each of the {len(ious)} IOUS, "
            f"found {len(weights)}"
        )
    if ious[0] != values["MODEL.ROI_HEADS.IOU_THRESHOLDS"][0]:
        problems.append(
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS: expected {values['MODEL.ROI_HEADS.IOU_THRESHOLDS'][0]} first, as "
            f"MODEL.ROI_HEADS.IOU_THRESHOLDS has it, found {ious[0]}"
        )
    return problems
