"""The configuration of a run, as its difference from a model and a schedule that ship."""

from __future__ import annotations

from typing import Any, NamedTuple

from train import config, config_keys
from train.page.runs import Run

# What follows from the data.
OF_THE_DATA = ("MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.MASK_ON")


class Settings(NamedTuple):
    """The nearest model and schedule, and (key, theirs, the run's) where the run's differ."""

    model: str
    schedule: str
    changed: list[tuple[str, str, str]]


def settings_of(run: Run) -> Settings:
    """Raises DataError for a configuration that this version cannot read.

    Of a model in a file of its own, the one that ships with the fewest differences; of schedules always, since a run
    does not record its name.
    """
    cfg = config.from_text(run.config, str(run.folder))
    models = [run.model] if run.model in config.MODELS else config.models()
    pairs = [(models[0], name) for name in config.schedules()]
    _, schedule = min(pairs, key=lambda pair: len(_changed(cfg, *pair)))
    model = min(models, key=lambda name: len(_changed(cfg, name, schedule)))
    return Settings(model, schedule, _changed(cfg, model, schedule))


def _changed(cfg: Any, model: str, schedule: str) -> list[tuple[str, str, str]]:
    return [
        (item.key, _shown(item.before), _shown(item.now))
        for item in config.differences(config.load(model, schedule), cfg)
        if item.key not in OF_THE_DATA and not config_keys.remedy(item.key)
    ]


def _shown(value: Any) -> str:
    return "none" if value in ("", None, []) else f"{value:g}" if isinstance(value, float) else str(value)
