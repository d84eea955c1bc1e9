"""Run one part of the GPU check: `python -m benchmarks.gpu.part NAME SETTINGS.json ROWS.jsonl`, as gpu_check does."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from benchmarks.gpu.records import Rows, Settings

# Name -> the module that has it. They load torch, which the one that lists them should not.
MODULES = {
    "steps": "correct",
    "losses": "correct",
    "accumulation": "correct",
    "checkpointing": "correct",
    "processes": "correct",
    "resume": "runs",
    "predict": "runs",
    "memory": "memory",
    "speed": "speed",
    "learning": "runs",
}


def main(name: str, settings_path: str, rows_path: str) -> None:
    settings = msgspec.json.decode(Path(settings_path).read_bytes(), type=Settings)
    module = importlib.import_module(f"benchmarks.gpu.{MODULES[name]}")
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    module.PARTS[name](settings, Rows(Path(rows_path), name))
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through Python's shutdown, in which threads of gloo and NCCL may abort the process.
    os._exit(0)


def _end_with_parent(parent: int) -> None:
    """A check that was killed must not leave its part behind on the GPU."""
    while os.getppid() == parent:
        time.sleep(1)
    if os.getpgrp() == os.getpid():  # with its child processes
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
