"""The mends for Detectron2 v0.6. Each test has a process of its own, since they change libraries for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str, *flags: str) -> str:
    """What a process prints; it must end well and have nothing to say on stderr."""
    done = subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_missing_names_are_there_afterwards() -> None:
    code = """if True:
        import numpy as np
        from PIL import Image
        vars(np).pop("bool", None)  # numpy 1.24 to 1.26 have none
        from train import compat
        assert Image.LINEAR == Image.BILINEAR == Image.Resampling.BILINEAR
        print(np.zeros(2).astype(np.bool).dtype, np.zeros(2, dtype=np.float).dtype, np.zeros(2, dtype=np.int).dtype)
    """

    assert run(code, "-W", "error") == "bool float64 int64"


def test_names_that_are_there_already_are_left_alone() -> None:
    code = """if True:
        import numpy as np
        from PIL import Image
        mine = {name: object() for name in ("bool", "int", "float")}
        vars(np).update(mine)
        Image.LINEAR = object()
        linear = Image.LINEAR
        from train import compat
        assert Image.LINEAR is linear
        assert {name: vars(np)[name] for name in mine} == mine
        print("left alone")
    """

    assert run(code) == "left alone"


def test_importing_it_twice_changes_nothing_more() -> None:
    code = """if True:
        import importlib, logging, warnings
        import numpy as np
        from PIL import Image
        from train import compat
        def state():
            levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict}
            return levels, sorted(map(repr, warnings.filters)), {**vars(np)}, {**vars(Image)}
        before = state()
        importlib.reload(compat)
        assert state() == before
        print("the same")
    """

    assert run(code) == "the same"


@pytest.mark.parametrize("state", ["enabled", "disabled"])
def test_garbage_is_collected_afterwards_as_before_but_not_among_modules(state: str) -> None:
    code = f"""if True:
        import gc
        gc.{"enable" if state == "enabled" else "disable"}()
        from train import compat
        import detectron2.engine, torch
        looked_at = {{id(found) for found in gc.get_objects()}}
        print("enabled" if gc.isenabled() else "disabled", id(vars(torch)) in looked_at, len(looked_at) < 10_000)
    """

    assert run(code) == f"{state} False True"


def test_detectron2_is_quiet_after_it() -> None:
    """When it is imported, and where a step uses what torch and numpy warn of or took away: anchors and masks."""
    code = """if True:
        from train import compat
        import numpy as np
        import torch
        import detectron2.checkpoint, detectron2.data, detectron2.engine, detectron2.modeling, detectron2.solver
        from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
        from detectron2.structures import PolygonMasks
        anchors = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4])([torch.zeros(1, 1, 2, 2)])
        masks = PolygonMasks([[np.array([0.0, 0.0, 4.0, 0.0, 4.0, 4.0, 0.0, 4.0])]])
        pixels = masks.crop_and_resize(torch.tensor([[0.0, 0.0, 8.0, 8.0]]), 8)
        print(anchors[0].tensor[0].tolist(), int(pixels.sum()), masks.nonempty().tolist())
    """

    # The anchor of 8 px around (2, 2), the middle of the first 4 px; a 4x4 square in 8x8.
    assert run(code, "-W", "error") == "[-2.0, -2.0, 6.0, 6.0] 16 [True]"
