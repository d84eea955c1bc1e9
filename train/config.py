"""Configuration: Detectron2's, with keys of our own, read from the YAML files in train/configs/."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import yaml_files
from datasets.errors import DataError
from train import config_checks, config_keys, config_versions

CONFIGS = Path(__file__).parent / "configs"
SCHEDULES = CONFIGS / "schedules"

# Name -> description. `python -m train models` lists them; each has a file in train/configs/.
MODELS = {
    "r18": "scratch Mask R-CNN on ResNet-18, the smallest that is meant seriously",
    "r50-bn": "the paper's first baseline: ResNet-50, batch norm",
    "r50-gn": "the paper's second baseline: ResNet-50, group norm",
    "r50": "the paper's scratch Mask R-CNN: group norm everywhere, box head of 4 convolutions + 1 layer",
    "r101": "the same on ResNet-101, the paper's final model",
    "r18-cascade": "r18 with a cascade of three box heads",
    "r50-cascade": "r50 with a cascade of three box heads",
    "r101-cascade": "r101 with a cascade of three box heads",
    "resnest50": "r50 on ResNeSt-50, the backbone of the paper's balanced data",
    "resnest50-cascade": "resnest50 with a cascade of three box heads",
    "tiny": "ResNet-18 with a pyramid and heads of 64 channels and small anchors, for a CPU",
    "tiny-cascade": "tiny with a cascade of three box heads",
}

# The paper's five (section 3.C.1), by Detectron2's names.
LOSSES = ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask")

# Keys that a resumed run may change: they affect where it runs, what it keeps and when it stops, not what it computes.
FREE_ON_RESUME = {
    "DATALOADER.NUM_WORKERS",
    "LOGGERS",
    "MODEL.CHECKPOINT_ACTIVATIONS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.MAX_TO_KEEP",
    "SOLVER.PATIENCE",
}


# What the paper did not have; off by default, and named in the plan and the lineage where it is on.
BEYOND_PAPER = (
    "INPUT.SCALE",
    "INPUT.CANVAS",
    "INPUT.SIZE_STEPS",
    "INPUT.ONLINE_OFF_EPOCHS",
    "SOLVER.EMA",
    "SOLVER.SMALL",
    "SOLVER.VALIDATE_EPOCHS",
    "SOLVER.PATIENCE",
    "SOLVER.LR_SCHEDULE",
    "MODEL.RPN.BBOX_REG_LOSS_TYPE",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE",
)

_REFERENCE = "Detectron2's config reference and train/config.py name all keys"


class Difference(NamedTuple):
    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: was {self.before!r}, is {self.now!r}"


def default() -> Any:
    """Detectron2's defaults, our changes to them, and our own keys, each with its meaning."""
    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.config import CfgNode, get_cfg

    cfg = get_cfg()
    # Zero the last norm of each residual branch at initialisation (Goyal et al., 2017). Off: Detectron2 found, as the
    # paper did, that it hurts group norm from scratch.
    cfg.MODEL.RESNETS.ZERO_INIT_LAST_NORM = False
    # The ResNeSt variant, by timm's name, where MODEL.BACKBONE.NAME is build_resnest_fpn_backbone. Of MODEL.RESNETS it
    # obeys NORM, OUT_FEATURES and ZERO_INIT_LAST_NORM.
    cfg.MODEL.RESNEST = CfgNode({"NAME": "resnest50d"})
    # Activation checkpointing: keep only the inputs and outputs of residual blocks and recompute the rest in the
    # backward pass; about half the memory for a third more time.
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = False
    # Share of an anchor or proposal that must lie in an ignored box for it to be excluded from the loss.
    cfg.MODEL.IGNORE = CfgNode({"MIN_IOA": 0.5})
    # Loss weights; all stages of a cascade share one.
    cfg.MODEL.LOSS_WEIGHTS = CfgNode(dict.fromkeys(LOSSES, 1.0))
    # The schedule continues from trained weights: a run without --init is refused.
    cfg.SOLVER.FINETUNE = False
    # The run in epochs; MAX_ITER, STEPS and WARMUP_ITERS are derived from them. MAX_ITER above 0 ends the run early.
    cfg.SOLVER.EPOCHS = 56.0
    cfg.SOLVER.STEP_EPOCHS = [40.0, 50.0]
    cfg.SOLVER.WARMUP_EPOCHS = 0.5
    cfg.SOLVER.MAX_ITER = 0
    # How the learning rate falls: in steps (at STEP_EPOCHS, to GAMMA of what it was) or along half a cosine to 0.
    cfg.SOLVER.LR_SCHEDULE = "steps"
    # Early stopping: the run ends after this many epochs without a better AP on the validation data; 0 never does.
    cfg.SOLVER.PATIENCE = 0
    # The batch that BASE_LR is for.
    cfg.SOLVER.REFERENCE_BATCH = 16
    # IMS_PER_BATCH images make a step; gradients are accumulated over this many parts.
    cfg.SOLVER.ACCUMULATE = 1
    # fp16 (GPUs), bf16 (also CPUs with bf16) or auto (bf16 where the device has it, else fp16 on a GPU and float32 on a
    # CPU), where SOLVER.AMP.ENABLED asks for mixed precision.
    cfg.SOLVER.AMP.DTYPE = "fp16"
    # Iterations between checkpoints, in addition to those at the ends of epochs.
    cfg.SOLVER.CHECKPOINT_PERIOD = 1000
    # Number of newest epochs whose checkpoints are kept, besides the best and the last; -1 keeps all.
    cfg.SOLVER.MAX_TO_KEEP = 3
    # Size, batch, length and learning rate follow from the number of training images (train/run/small.py).
    cfg.SOLVER.SMALL = False
    # Epochs between two validations, and between the checkpoints that a run keeps.
    cfg.SOLVER.VALIDATE_EPOCHS = 1
    # Decay of the moving average of the weights, with which a run is then validated and predicts; 0 keeps none.
    cfg.SOLVER.EMA = 0.0
    # What an image's scale is measured by: its own size (picture), or that of the picture that it is a part of
    # (source), so that objects of a crop are as large as in the whole picture.
    cfg.INPUT.SCALE = "picture"
    # Side of a square canvas in px, onto which images are cropped or padded; 0 for none. With a wide MIN_SIZE_TRAIN it
    # is large-scale jitter.
    cfg.INPUT.CANVAS = 0
    # [[epoch, sizes], ...]: from this epoch on, counted from 0, these instead of MIN_SIZE_TRAIN.
    cfg.INPUT.SIZE_STEPS = []
    # With --online: epochs before the end without mosaic and paste.
    cfg.INPUT.ONLINE_OFF_EPOCHS = 0.0
    # Where metrics go beside metrics.json: tensorboard, wandb, mlflow.
    cfg.LOGGERS = ["tensorboard"]
    cfg.SEED = 0
    cfg.MODEL.DEVICE = "auto"
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = 3000
    return cfg


def models() -> list[str]:
    return list(MODELS)


def schedules() -> list[str]:
    return yaml_files.shipped(SCHEDULES)


def load(model: str, schedule: str, overrides: Sequence[str] = ()) -> Any:
    """The configuration of a model under a schedule (each a name or a YAML file), then KEY VALUE overrides.

    Raises DataError for an unknown name, invalid YAML, and keys or values that are not allowed.
    """
    cfg = default()
    _merge_file(cfg, yaml_files.find(model, CONFIGS, option="--model", names=models()))
    _merge_file(cfg, yaml_files.find(schedule, SCHEDULES, option="--schedule"))
    merge_overrides(cfg, overrides)
    ignored = config_keys.asked_for(list(overrides[::2])) + config_keys.ignored(flat(cfg), *_references())
    check(cfg, list(dict.fromkeys(ignored)))
    return cfg


def _references() -> tuple[dict[str, Any], dict[str, Any]]:
    """Detectron2's values and ours, none of which the user asked for."""
    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.config import get_cfg

    ours = default()
    _merge_file(ours, CONFIGS / "base.yaml")
    return flat(get_cfg()), flat(ours)


def dump(cfg: Any) -> str:
    """The configuration as YAML, without keys that are not obeyed."""
    import yaml

    def kept(node: dict[str, Any], prefix: str) -> dict[str, Any]:
        obeyed = {}
        for key, value in node.items():
            name = f"{prefix}{key}"
            if isinstance(value, dict):
                inner = kept(value, f"{name}.")
                if inner:
                    obeyed[key] = inner
            elif not config_keys.remedy(name):
                obeyed[key] = _as_lists(value)
        return obeyed

    return str(yaml.safe_dump(kept(cfg, "")))


def from_text(text: str, origin: str) -> Any:
    """A configuration from a checkpoint. Raises DataError where this version cannot read it."""
    import yaml

    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.config import CfgNode

    cfg = default()
    try:
        cfg.merge_from_other_cfg(CfgNode(config_versions.translated(yaml.safe_load(text))))
    except (yaml.YAMLError, KeyError, ValueError, AssertionError, AttributeError, TypeError) as error:
        raise DataError(f"{origin}: its configuration cannot be read: {error}") from None
    return cfg


def _merge_file(cfg: Any, path: Path) -> None:
    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.config import CfgNode

    content = read_yaml(path)
    version = content.pop("VERSION", cfg.VERSION)
    if version != cfg.VERSION:
        raise DataError(f"{path}: VERSION: expected {cfg.VERSION}, found {version!r}")
    unknown = _unknown_keys(content, cfg)
    if unknown:
        raise DataError(f"{path}: expected keys that there are; {_REFERENCE}", unknown)
    try:
        cfg.merge_from_other_cfg(CfgNode(_with_floats(content, cfg)))
    except KeyError as error:
        raise DataError(f"{path}: {_plain(error)}; {_REFERENCE}") from None
    except RecursionError:
        raise DataError(f"{path}: not readable as YAML: it is nested without end, by an alias") from None
    except (ValueError, AssertionError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: {_plain(error)}") from None


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file merged over those that it names as `_BASE_`, relative to itself, as Detectron2 reads them.

    `above` are the files that build on it. Only local files and plain YAML: Detectron2 itself also fetches URLs and
    executes code that a file names. Raises DataError naming the file.
    """
    if path.resolve() in above:
        raise DataError(f"{path}: expected files that build on one another, found a loop of _BASE_")
    content = yaml_files.read(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys with values, found {type(content).__name__}")
    bases = content.pop("_BASE_", [])
    for base in reversed(bases if isinstance(bases, list) else [bases]):
        below = read_yaml(path.parent / Path(str(base)).expanduser(), (*above, path.resolve()))
        content = _over(content, below, str(path))
    whole: dict[str, Any] = content
    return whole


def _over(upper: dict[str, Any], lower: dict[str, Any], origin: str, depth: int = 0) -> dict[str, Any]:
    """Merged, with `upper`'s value where both have one."""
    if depth > 20:
        raise DataError(f"{origin}: not readable as YAML: it is nested without end, by an alias")
    return lower | {
        key: _over(value, lower[key], origin, depth + 1)
        if isinstance(value, dict) and isinstance(lower.get(key), dict)
        else value
        for key, value in upper.items()
    }


def _unknown_keys(content: dict[str, Any], known: dict[str, Any], prefix: str = "") -> list[str]:
    """Each unknown key of a file, with the most similar known one."""
    problems = []
    for key, value in content.items():
        if key not in known:
            similar = difflib.get_close_matches(str(key), list(known), n=1)
            meant = f"; did you mean {prefix}{similar[0]}?" if similar else ""
            problems.append(f"{prefix}{key}: no such key{meant}")
        elif isinstance(value, dict) and isinstance(known[key], dict):
            problems += _unknown_keys(value, known[key], f"{prefix}{key}.")
    return problems


def _with_floats(content: dict[str, Any], defaults: Any) -> dict[str, Any]:
    """Integers as floats where the key's value is a float, which Detectron2 would refuse: `EPOCHS: 12`."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            result[key] = _with_floats(value, default)
        elif type(value) is int and isinstance(default, float):
            result[key] = float(value)
        else:
            result[key] = value
    return result


def merge_overrides(cfg: Any, overrides: Sequence[str]) -> None:
    """Merge KEY VALUE KEY VALUE ... into `cfg`, in place. Raises DataError naming the key."""
    if len(overrides) % 2:
        raise DataError(f"expected KEY VALUE pairs, found {overrides[-1]!r} without a value")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        _merge_one(cfg, key, value)


def _merge_one(cfg: Any, key: str, value: str) -> None:
    if isinstance(flat(cfg).get(key), float) and value.removeprefix("-").isdecimal():
        value += ".0"
    try:
        cfg.merge_from_list([key, value])
    except (KeyError, AssertionError, AttributeError) as error:
        raise DataError(f"{key}: {_plain(error)}; {_REFERENCE}") from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{key}: {_plain(error)}") from None


def _plain(error: Exception) -> str:
    return str(error.args[0]) if error.args else str(error)


def check(cfg: Any, ignored: Sequence[str] = ()) -> None:
    """Raises DataError, naming every key, for anything that would fail or mislead hours later.

    `ignored` are the problems of keys that are set and would have no effect.
    """
    values = flat(cfg)
    problems = config_checks.missing_values(values, flat(default())) or config_checks.problems_of(cfg, values)
    if problems or ignored:
        raise DataError("the configuration cannot be used", [*ignored, *problems])


def beyond_paper(cfg: Any) -> list[str]:
    """`KEY VALUE` of what a configuration has beyond the paper."""
    values, defaults = flat(cfg), flat(default())
    return [f"{key} {values[key]}" for key in BEYOND_PAPER if values[key] != defaults[key]]


def differences(before: Any, now: Any) -> list[Difference]:
    """The differences between two configurations, except in keys that a resumed run may change."""
    old, new = flat(before), flat(now)
    return [
        Difference(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in FREE_ON_RESUME
    ]


def flat(cfg: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    flattened: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, dict):
            flattened.update(flat(value, f"{prefix}{key}."))
        else:
            flattened[f"{prefix}{key}"] = _as_lists(value)
    return flattened


def _as_lists(value: Any) -> Any:
    """YAML has no tuples."""
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
