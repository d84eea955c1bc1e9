"""What `python -m train fit` is asked for, and the configuration that follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from augment.operations.parameters import Recipe
from datasets.checks import STRICT, Leniency
from datasets.errors import DataError
from datasets.sources import Input
from train import config
from train.checkpoints import checkpoint


class Request(NamedTuple):
    """The parameters of `python -m train fit`. `init` is a checkpoint to start from, or a run's folder."""

    model: str
    data: Input
    output: Path
    schedule: str = "paper"
    overrides: tuple[str, ...] = ()
    validation: Input | None = None
    resume: bool = False
    init: Path | None = None
    categories: str | None = None
    allow_pretrained: bool = False
    leniency: Leniency = STRICT
    online: Recipe | None = None
    """Draws variants of the images in each epoch."""
    label: str = ""
    """Begins each line of output, where several runs print to one terminal."""

    @property
    def prefix(self) -> str:
        return f"{self.label}: " if self.label else ""

    @property
    def given(self) -> list[str]:
        """The keys that the command line sets."""
        return list(self.overrides[::2])

    def configuration(self, resumes: bool) -> Any:
        """The configuration. A resumed run has its weights, so its --init need not exist any more."""
        overrides = self.overrides
        if self.init is not None:
            if "MODEL.WEIGHTS" in self.given:
                raise DataError("expected either --init or MODEL.WEIGHTS, found both")
            if not resumes:
                overrides = (*overrides, "MODEL.WEIGHTS", str(_init_file(self.init)))
        cfg = config.load(self.model, self.schedule, overrides)
        if cfg.SOLVER.FINETUNE and not cfg.MODEL.WEIGHTS and not resumes:
            raise DataError(f"the schedule {self.schedule} needs trained weights: expected --init RUN, found none")
        return cfg


def _init_file(init: Path) -> Path:
    if init.is_file():
        return init
    if not init.is_dir():
        raise DataError(f"--init {init}: expected the folder of a run or a checkpoint file, found neither")
    return checkpoint.find_in_run(init)
