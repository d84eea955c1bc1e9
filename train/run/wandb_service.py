"""Weights & Biases, where it is installed; its own environment variables decide where runs go."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from train.run.endings import Ending
from train.run.services import WAIT, About

# Where WANDB_PROJECT names none.
PROJECT = "scarcedet"


class WandB:
    """A run of Weights & Biases; offline, in files for `wandb sync`, without a key or with WANDB_MODE offline."""

    name = "wandb"
    where = ""

    def open(self, about: About, run_id: str | None) -> str:
        # Its reports of its own errors, and its lines between ours.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        self._run: Any = wandb.init(
            id=run_id or secrets.token_hex(4),
            resume="allow",
            mode=None if os.environ.get("WANDB_MODE") else _mode(wandb),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", about.folder.name),
            dir=os.environ.get("WANDB_DIR", str(about.folder)),
            config=dict(about.parameters),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                init_timeout=WAIT / 2,
                finish_timeout=WAIT / 2,
                finish_timeout_raises=True,
            ),
        )
        # Of a run that is continued: the service takes no step twice.
        self._next = int(self._run.step)
        folder = Path(self._run.dir).parent
        self.where = f"offline, in {folder}; `wandb sync` uploads it" if self._run.offline else str(self._run.url)
        return str(self._run.id)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        if iteration >= self._next:
            self._run.log(dict(values), step=iteration)

    def close(self, ending: Ending) -> None:
        if ending == "stopped":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if ending == "finished" else 1)


def _mode(wandb: Any) -> Literal["online", "offline"]:
    """Without a key, `wandb.init` would ask for one on a terminal, and fail without."""
    return "online" if wandb.login(prompt=False, verify=False) else "offline"
