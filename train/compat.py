"""What Detectron2 v0.6 needs on today's libraries. Import it before detectron2; newer versions are left alone."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from PIL import Image

# Pillow 10 took LINEAR away, which detectron2/data/transforms/transform.py names in a default argument.
if not hasattr(Image, "LINEAR"):
    Image.LINEAR = Image.Resampling.BILINEAR  # type: ignore[attr-defined]

# numpy 1.24 took these names away (and 2.0 gave `bool` back); structures/masks.py and data/build.py use them.
for _name, _type in {"bool": np.bool_, "int": int, "float": float}.items():
    if _name not in np.__dict__:
        setattr(np, _name, _type)

# torch warns of things that v0.6 does at import and in every step, which a user can do nothing about.
for _message in (
    r".*`?torch\.jit\.script(_method)?`? is deprecated",
    r".*torch\.meshgrid: in an upcoming release",
    r".*__array__ implementation doesn't accept a copy keyword",
    r".*TypedStorage is deprecated",
    r".*torch\.cuda\.amp\..* is deprecated",
):
    warnings.filterwarnings("ignore", _message)

# It looks for a CUDA compiler when it is imported, and says so where there is none.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
# Its loop logs the traceback of every error; ours print one line, and Python itself shows the rest.
logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
# Its old-to-new key matching talks about every buffer.
logging.getLogger("fvcore.common.checkpoint").setLevel(logging.ERROR)
