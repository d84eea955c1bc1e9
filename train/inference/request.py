"""What `python -m train predict` is asked for, and the configuration that follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from train import config, config_keys, devices
from train.checkpoints.checkpoint import Loaded
from train.inference import test_size, tiling
from train.inference.test_size import TestSize

# Settings for later soft-NMS: low scores and overlapping boxes are kept.
RAW = {
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.001,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.9,
    "TEST.DETECTIONS_PER_IMAGE": 300,
}
# `predict --draw-score`. In 87 pictures of blood cells, `tiny` found 93 % of the objects with scores from 0.5 on, and
# 96 % from 0.3 on, with a third more boxes that were wrong; in the drawn sample, with eight categories, 42 % and 74 %,
# with three times as many.
DRAW_SCORE = 0.5


class Request(NamedTuple):
    """The parameters of `python -m train predict`; `checkpoint` is a file."""

    checkpoint: Path
    annotations: Path | None
    """None for all pictures of the folder `images`."""
    images: Path
    output: Path
    tta: bool = False
    raw: bool = False
    amp: str | None = None
    """fp16 or bf16 for mixed precision; None for float32, whatever the training used, as in its validation."""
    tile: int | None = None
    """Side of the tiles in px; None for whole images."""
    overlap: float = tiling.OVERLAP
    """How much of a side neighbouring tiles share at least, 0 <= overlap < 1."""
    masks: bool = False
    """Masks go into the results file."""
    draw: Path | None = None
    """Folder for drawings of the pictures, with the detections of at least `draw_score`."""
    draw_score: float = DRAW_SCORE
    size: TestSize | None = None
    """What `choose-size` found for the run; for the checkpoint that it measured."""
    device: str = "auto"
    """MODEL.DEVICE."""
    ema: bool = True
    """The moving average of the weights, where there is one; False for the weights themselves."""
    skip_bad: bool = False
    """Images whose files cannot be used are left out."""
    overrides: tuple[str, ...] = ()

    @property
    def in_full_size(self) -> bool:
        """Whether images are resized after they left the loader."""
        return self.tta or self.tile is not None

    def settings(self) -> tuple[str, ...]:
        """What determines the detections beyond --tta and --raw, for the provenance file."""
        tiles = ("--tile", str(self.tile), "--overlap", str(self.overlap)) if self.tile is not None else ()
        weights = () if self.ema else ("--no-ema",)
        return (*tiles, *self._amp_settings(), *weights, *self.overrides)

    def configuration(self, loaded: Loaded) -> Any:
        """The checkpoint's configuration with what is asked for. Raises DataError for keys that do not fit."""
        cfg = config.from_text(loaded.content["config"], str(loaded.path))
        # Checkpoints from a GPU are read without one, and vice versa.
        cfg.MODEL.DEVICE = self.device
        cfg.SOLVER.AMP.ENABLED = False
        config.merge_overrides(cfg, self._amp_settings())
        if self.raw:
            for key, value in RAW.items():
                config.merge_overrides(cfg, [key, str(value)])
        config.merge_overrides(cfg, self.overrides)
        keys = list(self.overrides[::2])
        config.check(cfg, [*config_keys.of_training(keys), *config_keys.refused(keys), *self._without_effect(keys)])
        return cfg

    def at_chosen_size(self, loaded: Loaded) -> tuple[Request, str]:
        """The request at the size that `choose-size` found best for this checkpoint, and a line that says so.

        Unchanged where the command line has a size, or --tta its own ones; another checkpoint is told.
        """
        if self.size is None or self.tta or set(test_size.KEYS) & set(self.overrides[::2]):
            return self, ""
        if self.size.sha256 != loaded.sha256:
            return self, f"note: `choose-size` measured {self.size.checkpoint} as it was then; its size is not used"
        chosen = self._replace(overrides=(*self.size.overrides, *self.overrides))
        return chosen, f"predicting at {self.size}, which `choose-size` found best; {test_size.KEYS[0]} says otherwise"

    def _without_effect(self, keys: list[str]) -> list[str]:
        """A problem for each key that this request has no use for."""
        if self.tta:
            unused = () if self.tile is not None else test_size.KEYS
            return [f"{key}: --tta has the sizes of TEST.AUG" for key in keys if key in unused]
        return [f"{key}: for --tta only" for key in keys if key.startswith("TEST.AUG.")]

    def _amp_settings(self) -> tuple[str, ...]:
        return ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", self.amp) if self.amp else ()

    def out_of_memory(self, error: Exception, cfg: Any) -> str:
        """The error of a prediction that exceeds GPU memory."""
        sizes = f"INPUT.MIN_SIZE_TEST (was {cfg.INPUT.MIN_SIZE_TEST})"
        if self.tta:
            sizes = f"TEST.AUG.MIN_SIZES (was {list(cfg.TEST.AUG.MIN_SIZES)})"
        amp = "" if cfg.SOLVER.AMP.ENABLED else "--amp fp16; "
        return (
            f"{devices.first_line(error)}\nThe GPU's memory is too small for an image. Try: {amp}a smaller {sizes}; "
            "MODEL.DEVICE cpu. Nothing was written"
        )
