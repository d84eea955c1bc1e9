"""Run one part of the GPU check: `python -m benchmarks.gpu.part NAME SETTINGS.json ROWS.jsonl`, as gpu_check does."""

from __future__ import annotations

import importlib
import sys
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
    module.PARTS[name](settings, Rows(Path(rows_path), name))


if __name__ == "__main__":
    main(*sys.argv[1:])
