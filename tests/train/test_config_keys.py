"""Every key of the configuration is obeyed, or refused with what does it here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
import yaml
from torch import nn

from datasets.errors import DataError
from train import config, config_keys
from train.config_keys import CASCADE, CONDITIONAL, REFUSED, RESNEST
from train.data import mapper, sampler
from train.inference import tta
from train.model.build import build_network
from train.run import solver

# isort: split
from detectron2.config import get_cfg

DEFAULTS = config.flat(config.default())


def refusal(*overrides: str, model: str = "tiny") -> str:
    with pytest.raises(DataError) as caught:
        config.load(model, "sample", overrides)
    return str(caught.value)


def test_every_key_is_obeyed_or_refused_and_none_is_both() -> None:
    obeyed = config_keys.obeyed()
    refused = {key for key in DEFAULTS if config_keys.remedy(key)}
    assert set(config.flat(get_cfg())) <= set(DEFAULTS)
    assert obeyed | refused == set(DEFAULTS)
    assert obeyed & refused == set()


def test_every_refusal_is_of_a_key_that_there_is() -> None:
    for begin in REFUSED:
        assert any(key == begin or key.startswith(begin) for key in DEFAULTS), begin


def another(value: Any) -> str:
    """A value of the same type, as one writes it on a command line."""
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, (int, float)):
        return str(value + 1)
    if isinstance(value, str):
        return f"'{value}x'"
    return "[7]" if not value or not isinstance(value[0], str) else "['x']"


@pytest.mark.parametrize("key", [key for key in DEFAULTS if config_keys.remedy(key)])
def test_a_key_that_would_be_ignored_is_refused_with_what_to_do(key: str) -> None:
    said = refusal(key, another(DEFAULTS[key]))
    assert f"\n  {key}: not obeyed here, found " in said
    assert said.endswith(f"; {config_keys.remedy(key)}")


@pytest.mark.parametrize("key", config_keys.REFUSED_AT_ANY_VALUE)
def test_some_are_refused_at_their_default_too(key: str) -> None:
    value = DEFAULTS[key]
    assert f"{key}: not obeyed here; " in refusal(key, value if isinstance(value, str) else repr(value))


@pytest.mark.parametrize("key", CONDITIONAL)
def test_a_key_that_this_model_does_not_heed_is_refused(key: str) -> None:
    needs = CONDITIONAL[key]
    name = {CASCADE: "tiny", RESNEST: "tiny"}.get(needs, "tiny-cascade" if needs.key == CASCADE.key else "resnest50")
    value = {
        "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": "[[1.0, 1.0, 1.0, 1.0]] * 3",
        "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": "[0.5, 0.55, 0.6]",
        "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": "[1.0, 1.0, 1.0, 1.0]",
        "MODEL.RESNEST.NAME": "resnest14d",
        "MODEL.RESNETS.DEPTH": "101",
        "MODEL.RESNETS.RES5_DILATION": "2",
        "MODEL.RESNETS.STRIDE_IN_1X1": "False" if name == "none" else "True",
    }.get(key, another(DEFAULTS[key]))
    if value.endswith("* 3"):
        value = "[[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]"
    if key == "MODEL.RESNETS.STRIDE_IN_1X1":
        # True is Detectron2's own default, so that it is nobody's wish.
        assert config.load(name, "sample", [key, value]).MODEL.RESNETS.STRIDE_IN_1X1
        return
    other = (needs.key, "giou") if needs.key.endswith("LOSS_TYPE") else ()
    assert f"{key}: for {needs} only, found " in refusal(*other, key, value, model=name)


def test_a_stock_file_is_told_all_that_it_asks_for_in_vain(tmp_path: Path) -> None:
    """As Detectron2's own YAML files have it."""
    path = tmp_path / "stock.yaml"
    stock = {
        "_BASE_": str(config.CONFIGS / "tiny.yaml"),
        "DATASETS": {"TRAIN": ["coco_2017_train"], "TEST": ["coco_2017_val"]},
        "SOLVER": {"STEPS": [60000, 80000], "MAX_ITER": 90000, "REFERENCE_WORLD_SIZE": 8},
        "DATALOADER": {"SAMPLER_TRAIN": "RepeatFactorTrainingSampler", "REPEAT_THRESHOLD": 0.001},
        "TEST": {"EVAL_PERIOD": 5000},
        "OUTPUT_DIR": "out",
    }
    path.write_text(yaml.safe_dump(stock))

    said = refusal(model=str(path))

    for key in (
        "DATASETS.TRAIN",
        "DATASETS.TEST",
        "SOLVER.STEPS",
        "SOLVER.REFERENCE_WORLD_SIZE",
        "DATALOADER.SAMPLER_TRAIN",
        "DATALOADER.REPEAT_THRESHOLD",
        "TEST.EVAL_PERIOD",
        "OUTPUT_DIR",
    ):
        assert f"\n  {key}: not obeyed here, found " in said
    assert "SOLVER.MAX_ITER" not in said


def test_what_is_written_down_is_what_is_obeyed_and_can_be_read_again(tmp_path: Path) -> None:
    cfg = config.load("tiny", "sample", ["SOLVER.MOMENTUM", "0.8"])
    path = tmp_path / "config.yaml"

    path.write_text(config.dump(cfg))

    written = config.flat(yaml.safe_load(path.read_text()))
    assert {key for key in written if config_keys.remedy(key)} == set()
    assert set(written) == {key for key in DEFAULTS if not config_keys.remedy(key)}
    assert config.flat(config.load(str(path), "sample")) == config.flat(cfg)


def test_a_number_of_classes_is_no_key_to_be_refused() -> None:
    """It is compared with the data's, when these are known."""
    assert config.load("tiny", "sample", ["MODEL.ROI_HEADS.NUM_CLASSES", "3"]).MODEL.ROI_HEADS.NUM_CLASSES == 3


@pytest.mark.parametrize("key", ["SOLVER.BASE_LR", "INPUT.MIN_SIZE_TRAIN", "SEED", "MODEL.LOSS_WEIGHTS.loss_cls"])
def test_predict_has_no_use_for_keys_of_training(key: str) -> None:
    assert config_keys.of_training([key, "TEST.AUG.FLIP", "INPUT.MIN_SIZE_TEST"]) == [f"{key}: for training only"]


# What is built of a configuration, in plain values: what the key of the left decides must be among them.


def parts(cfg: Any) -> Iterator[tuple[str, Any]]:
    """All that a run makes of its configuration, that can be compared; what takes no time to make comes first."""
    schedule = solver.schedule_of(cfg, 50)
    rates = solver.learning_rates(cfg, schedule)
    yield "schedule", (schedule, [rates(at) for at in range(schedule.last)])
    yield "training", _attributes(mapper.TrainingMapper(cfg, masks=True, seed=0))
    yield "inference", _attributes(mapper.InferenceMapper(cfg))
    yield "variants", (_attributes(tta.Variants(cfg)), _attributes(tta.WholeImages(cfg)))
    yield "division", sampler.Division(cfg.SOLVER.IMS_PER_BATCH, 1, cfg.SOLVER.ACCUMULATE)
    yield "shape", _plain(build_network(cfg, "meta"))
    network = build_network(cfg, seed=0)
    yield "trained", [name for name, item in network.named_parameters() if item.requires_grad]
    yield "buffers", {name: repr(item) for name, item in network.named_buffers()}
    yield "hooks", [len(module._forward_hooks) for module in network.modules()]
    yield "weights", {name: float(item.detach().double().square().sum()) for name, item in network.named_parameters()}
    optimizer = solver.optimizer_of(cfg, network, schedule)
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    yield "optimizer", (type(optimizer).__name__, [len(group["params"]) for group in optimizer.param_groups], groups)
    yield "step", _after_a_step(network, optimizer)


def _after_a_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    """How far a step goes along gradients far from 1, of which clipping would leave less."""
    moved = []
    for number, parameter in enumerate(item for item in network.parameters() if item.requires_grad):
        parameter.grad = torch.full_like(parameter, 3.0 + number)
        moved.append(parameter.detach().clone())
    optimizer.step()
    trained = (item for item in network.parameters() if item.requires_grad)
    return [float((after.detach() - before).abs().max()) for after, before in zip(trained, moved, strict=True)]


def _plain(network: nn.Module) -> list[Any]:
    return [(name, type(module).__name__, _attributes(module)) for name, module in network.named_modules()]


# What every module of torch has, whatever it is.
TORCHS_OWN = set(vars(nn.Module())) - {"training", "_buffers"}


def _attributes(item: Any, depth: int = 0) -> dict[str, str]:
    """The plain values of an object, and those of the objects in it."""
    found: dict[str, str] = {}
    for name, value in vars(item).items():
        if isinstance(item, nn.Module) and name in TORCHS_OWN:
            continue
        parts = value if isinstance(value, (list, tuple)) else [value]
        for number, part in enumerate(parts):
            if depth < 2 and hasattr(part, "__dict__") and not isinstance(part, (nn.Module, torch.Tensor)):
                inner = {"": f"{type(part).__name__} {getattr(part, '__name__', '')}", **_attributes(part, depth + 1)}
                found |= {f"{name}.{number}.{key}": text for key, text in inner.items()}
            elif isinstance(part, (bool, int, float, str, list, tuple, dict, torch.Tensor)) or part is None:
                found[f"{name}.{number}"] = repr(part)
    return found


# Those that are read elsewhere, and where that is tested.
ELSEWHERE = {
    "VERSION": "test_config.py",
    "SEED": "run/test_fit.py",
    "LOGGERS": "run/test_loggers.py",
    "MODEL.DEVICE": "test_devices.py",
    "MODEL.MASK_ON": "data/test_read.py",
    "MODEL.WEIGHTS": "checkpoints/test_weights.py",
    "DATALOADER.NUM_WORKERS": "data/test_loader.py",
    "DATALOADER.ASPECT_RATIO_GROUPING": "data/test_sampler.py",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "data/test_read.py",
    "SOLVER.CHECKPOINT_PERIOD": "run/test_hooks.py",
    "SOLVER.MAX_TO_KEEP": "checkpoints/test_checkpoint.py",
    "SOLVER.FINETUNE": "run/test_fit_init.py",
    "SOLVER.PATIENCE": "run/test_patience.py",
    "SOLVER.AMP.ENABLED": "test_precision.py",
    "SOLVER.AMP.DTYPE": "test_precision.py",
    "SOLVER.EMA": "run/test_ema.py",
    "SOLVER.SMALL": "run/test_small.py",
    "INPUT.ONLINE_OFF_EPOCHS": "run/test_fit_beyond.py",
}
# Of which one value alone is allowed.
SINGLE = {
    "MODEL.META_ARCHITECTURE",
    "MODEL.PROPOSAL_GENERATOR.NAME",
    "MODEL.ANCHOR_GENERATOR.NAME",
    "MODEL.RPN.HEAD_NAME",
    "MODEL.ROI_BOX_HEAD.NAME",
    "MODEL.ROI_MASK_HEAD.NAME",
    "INPUT.MASK_FORMAT",
    # A pyramid wants each stage half as large as the one before.
    "MODEL.RESNETS.RES5_DILATION",
}
VALUES = {
    "MODEL.PIXEL_MEAN": "[1.0, 2.0, 3.0]",
    "MODEL.PIXEL_STD": "[1.0, 2.0, 3.0]",
    "MODEL.BACKBONE.NAME": "build_resnest_fpn_backbone",
    "MODEL.BACKBONE.FREEZE_AT": "2",
    "MODEL.RESNETS.DEPTH": "34",
    "MODEL.RESNETS.NUM_GROUPS": "2",
    "MODEL.RESNETS.WIDTH_PER_GROUP": "32",
    "MODEL.RESNETS.STRIDE_IN_1X1": "True",
    "MODEL.RESNETS.RES2_OUT_CHANNELS": "128",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": "32",
    "MODEL.RESNETS.OUT_FEATURES": "['stem', 'res2', 'res3', 'res4', 'res5']",
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNEST.NAME": "resnest14d",
    "MODEL.FPN.IN_FEATURES": "['res3', 'res4', 'res5']",
    "MODEL.FPN.OUT_CHANNELS": "32",
    "MODEL.FPN.NORM": "BN",
    "MODEL.FPN.FUSE_TYPE": "avg",
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": "3",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[8], [16], [32], [64], [127]]",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[0.5, 1.0]]",
    "MODEL.ANCHOR_GENERATOR.OFFSET": "0.5",
    "MODEL.RPN.IN_FEATURES": "['p2', 'p3', 'p4', 'p5']",
    "MODEL.RPN.IOU_THRESHOLDS": "[0.4, 0.6]",
    "MODEL.RPN.IOU_LABELS": "[0, 0, 1]",
    "MODEL.RPN.POSITIVE_FRACTION": "0.25",
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": "giou",
    "MODEL.RPN.BBOX_REG_WEIGHTS": "[2.0, 2.0, 2.0, 2.0]",
    "MODEL.RPN.NMS_THRESH": "0.6",
    "MODEL.RPN.CONV_DIMS": "[32]",
    "MODEL.ROI_HEADS.NAME": "IgnoreAwareCascadeROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": "['p2', 'p3']",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": "[0.6]",
    "MODEL.ROI_HEADS.IOU_LABELS": "[0, 0]",
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": "0.1",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "0.2",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "0.4",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "ciou",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": "[1.0, 1.0, 1.0, 1.0]",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_BOX_HEAD.NORM": "BN",
    "MODEL.ROI_BOX_HEAD.CONV_DIM": "32",
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": "[[1., 1., 1., 1.], [1., 1., 1., 1.], [1., 1., 1., 1.]]",
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": "[0.5, 0.55, 0.6]",
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_MASK_HEAD.NORM": "BN",
    "MODEL.ROI_MASK_HEAD.CONV_DIM": "32",
    "MODEL.IGNORE.MIN_IOA": "0.6",
    "INPUT.MIN_SIZE_TRAIN": "[100, 176]",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.RANDOM_FLIP": "none",
    "INPUT.FORMAT": "RGB",
    "INPUT.SCALE": "source",
    "INPUT.SIZE_STEPS": "[[3, [100, 120]]]",
    "SOLVER.LR_SCHEDULE": "cosine",
    "SOLVER.MAX_ITER": "5",
    "SOLVER.MOMENTUM": "0.8",
    "SOLVER.WEIGHT_DECAY_BIAS": "0.5",
    "SOLVER.GAMMA": "0.5",
    "SOLVER.WARMUP_FACTOR": "0.5",
    "SOLVER.WARMUP_METHOD": "constant",
    "SOLVER.WARMUP_EPOCHS": "0.1",
    "SOLVER.STEP_EPOCHS": "[2.0]",
    "SOLVER.ACCUMULATE": "2",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
    "TEST.AUG.MIN_SIZES": "[99]",
}
# What a key needs beside it in order to do something.
BESIDE = {
    "MODEL.RESNETS.NUM_GROUPS": ("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.RES2_OUT_CHANNELS", "256"),
    "MODEL.RESNETS.WIDTH_PER_GROUP": ("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.RES2_OUT_CHANNELS", "256"),
    "MODEL.RESNETS.STRIDE_IN_1X1": ("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.RES2_OUT_CHANNELS", "256"),
    "MODEL.RESNETS.RES2_OUT_CHANNELS": ("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.RES2_OUT_CHANNELS", "256"),
    "MODEL.BACKBONE.NAME": ("MODEL.RESNETS.DEPTH", "50", "MODEL.RESNETS.RES2_OUT_CHANNELS", "256"),
    "MODEL.FPN.IN_FEATURES": (
        *("MODEL.RPN.IN_FEATURES", "['p3', 'p4', 'p5', 'p6']", "MODEL.ROI_HEADS.IN_FEATURES", "['p3', 'p4', 'p5']"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16]]"),
    ),
    "MODEL.RPN.IN_FEATURES": ("MODEL.ANCHOR_GENERATOR.SIZES", "[[16]]"),
    "MODEL.ROI_HEADS.NAME": ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
    "SOLVER.ACCUMULATE": ("SOLVER.IMS_PER_BATCH", "4"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("SOLVER.CLIP_GRADIENTS.ENABLED", "True"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": ("SOLVER.CLIP_GRADIENTS.ENABLED", "True"),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": (
        *("SOLVER.CLIP_GRADIENTS.ENABLED", "True"),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"),
    ),
}
# Where the smallest model is not one that heeds the key.
MODEL_FOR = {CASCADE: "tiny-cascade", RESNEST: "resnest50"}


class Base(Protocol):
    """base(model, *overrides): the parts without the key's value; each is made once."""

    def __call__(self, name: str, *beside: str) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
def base() -> Base:
    """base(model, *overrides): the parts without the key's value; each is made once."""
    made: dict[tuple[str, ...], dict[str, Any]] = {}

    def base(name: str, *beside: str) -> dict[str, Any]:
        key = (name, *beside)
        if key not in made:
            made[key] = dict(parts(config.load(name, "sample", beside)))
        return made[key]

    return base


def test_each_key_that_is_obeyed_is_tried_or_tested_elsewhere() -> None:
    tests = Path(__file__).parent
    for key, name in ELSEWHERE.items():
        assert (tests / name).is_file(), key
    assert config_keys.obeyed() >= set(ELSEWHERE) | SINGLE | set(VALUES)


@pytest.mark.parametrize("name", ["tiny", "tiny-cascade"])
def test_the_same_configuration_is_the_same_in_all_parts(name: str, base: Base) -> None:
    assert dict(parts(config.load(name, "sample"))) == base(name)


@pytest.mark.parametrize("key", sorted(config_keys.obeyed() - set(ELSEWHERE) - SINGLE))
def test_a_key_that_is_obeyed_changes_something(key: str, base: Base) -> None:
    name = MODEL_FOR.get(CONDITIONAL.get(key, CASCADE), "tiny") if key in CONDITIONAL else "tiny"
    beside = BESIDE.get(key, ())
    before = base(name, *beside)
    value = VALUES.get(key) or another(config.flat(config.load(name, "sample", beside))[key])

    changed = (
        part for part, after in parts(config.load(name, "sample", [*beside, key, value])) if after != before[part]
    )

    assert next(changed, None) is not None
