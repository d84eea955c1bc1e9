"""One thread, as in tests/train: two wait for each other where others are at work."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
