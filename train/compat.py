"""Compatibility of Detectron2 v0.6 with current libraries, and its import. Import this before detectron2; newer
versions are unchanged.
"""

from __future__ import annotations

import gc
import importlib
import logging
import warnings

import numpy as np
from PIL import Image

from train import box_losses

# Pillow 10 removed LINEAR, a default argument in detectron2/data/transforms/transform.py.
if not hasattr(Image, "LINEAR"):
    Image.LINEAR = Image.Resampling.BILINEAR  # type: ignore[attr-defined]

# numpy 1.24 removed these names (2.0 restored `bool`); structures/masks.py and data/build.py use them.
for _name, _type in {"bool": np.bool_, "int": int, "float": float}.items():
    if _name not in np.__dict__:
        setattr(np, _name, _type)

# Warnings of torch about v0.6, at import and in every step, which users can do nothing about.
for _message in (
    r".*`?torch\.jit\.script(_method)?`? is deprecated",
    r".*torch\.meshgrid: in an upcoming release",
    r".*__array__ implementation doesn't accept a copy keyword",
    r".*TypedStorage is deprecated",
    r".*torch\.cuda\.amp\..* is deprecated",
):
    warnings.filterwarnings("ignore", _message)

# At import, it looks for a CUDA compiler and reports that there is none.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
# Its loop logs the traceback of every error; ours prints one line, and Python the rest.
logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
# Its old-to-new key matching logs every buffer.
logging.getLogger("fvcore.common.checkpoint").setLevel(logging.ERROR)

# Its modules and torch's make 370,000 objects that stay. Looking through them for garbage again and again while there
# are ever more takes a quarter of the seconds that a command needs to start; the frozen ones are never looked at again,
# so that the workers of a loader, which are forks, do not copy the memory that they lie in either.
_collects = gc.isenabled()
gc.disable()
try:
    importlib.import_module("detectron2.engine")
    for _module in ("detectron2.modeling.box_regression", "detectron2.modeling.roi_heads.fast_rcnn"):
        vars(importlib.import_module(_module)).update(box_losses.LOSSES)
    gc.freeze()
finally:
    if _collects:
        gc.enable()
