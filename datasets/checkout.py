"""The git commit of the running code."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

# Folders whose code determines the output of a command.
CODE = ("datasets", "augment", "train", "ensemble")


@functools.cache
def commit(*folders: str) -> str:
    """The commit of the checkout, with ", changed since" where a file of CODE or `folders` differs; "" without git."""
    places = [f":/{name}" for name in (*CODE, *folders)]
    try:
        head, changed = (
            subprocess.run(
                ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=20
            ).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", *places])
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{head.strip()}{', changed since' if changed.strip() else ''}"
