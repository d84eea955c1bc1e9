"""Equal numbers of iterations for any number of images, in the epochs of `python -m train fit`. Pure functions."""

from __future__ import annotations

import math
from fractions import Fraction

from scripts.experiments.arms import Tree, merged
from train.run.schedule import iterations


def in_epochs(count: int, images: int, batch: int) -> float:
    """The smallest number of epochs that `fit` turns into `count` iterations, not one less."""
    epochs = count * batch / images
    while iterations(epochs, images, batch) < count:
        epochs = math.nextafter(epochs, math.inf)
    return epochs


def timed(config: Tree, count: int, images: int) -> Tree:
    """A configuration whose schedule keeps its shape in `count` iterations: all that is given in epochs keeps its share
    of the run, independent of the number of images.
    """
    solver = config["SOLVER"]
    batch, whole = int(solver["IMS_PER_BATCH"]), Fraction(str(solver["EPOCHS"]))

    def share(epochs: float) -> float:
        return in_epochs(int(count * Fraction(str(epochs)) / whole), images, batch)

    changed = {
        "EPOCHS": in_epochs(count, images, batch),
        "STEP_EPOCHS": [share(step) for step in solver["STEP_EPOCHS"]],
        "WARMUP_EPOCHS": share(solver["WARMUP_EPOCHS"]),
        "MAX_TO_KEEP": 1,
    }
    given = config.get("INPUT", {})
    sizes: Tree = {}
    if "ONLINE_OFF_EPOCHS" in given:
        sizes["ONLINE_OFF_EPOCHS"] = share(given["ONLINE_OFF_EPOCHS"])
    if "SIZE_STEPS" in given:
        sizes["SIZE_STEPS"] = [[share(epoch), found] for epoch, found in given["SIZE_STEPS"]]
    return merged(config, {"SOLVER": changed, "INPUT": sizes})
