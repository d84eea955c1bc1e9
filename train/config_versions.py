"""Configurations of checkpoints of earlier versions, by the keys of this one."""

from __future__ import annotations

from typing import Any

# SOLVER.LR_SCHEDULER_NAME, Detectron2's key, which versions before 0.3 obeyed -> SOLVER.LR_SCHEDULE.
LR_SCHEDULES = {"WarmupMultiStepLR": "steps", "WarmupCosineLR": "cosine"}


def translated(content: Any) -> Any:
    """What the YAML of a checkpoint's configuration holds, with renamed keys by their present names."""
    solver = content.get("SOLVER") if isinstance(content, dict) else None
    if not isinstance(solver, dict) or "LR_SCHEDULE" in solver:
        return content
    name = solver.get("LR_SCHEDULER_NAME")
    if not isinstance(name, str) or name not in LR_SCHEDULES:
        return content
    kept = {key: value for key, value in solver.items() if key != "LR_SCHEDULER_NAME"}
    return {**content, "SOLVER": {**kept, "LR_SCHEDULE": LR_SCHEDULES[name]}}
