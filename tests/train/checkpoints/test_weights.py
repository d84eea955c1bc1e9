"""The first weights of a run: drawn, or those of a checkpoint of ours; anybody else's only where that is allowed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from datasets.errors import DataError
from tests.train.made import LINEAGE, content, weights_config
from train import compat  # noqa: F401 - compat before detectron2
from train.checkpoints import checkpoint
from train.checkpoints.weights import FROM_SCRATCH_RULE, Start, find_parent, is_class_specific, load_exactly
from train.checkpoints.weights import start as take
from train.model.build import build_network

# isort: split
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

Weights = dict[str, torch.Tensor]

# All that depends on the number of categories.
PREDICTORS = {
    f"roi_heads.{name}.{part}"
    for name in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor")
    for part in ("weight", "bias")
}


def build(categories: int, seed: int) -> nn.Module:
    return build_network(weights_config(categories), seed=seed)


def weights(network: nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(ours: Weights, theirs: Weights) -> set[str]:
    """The names that both have, with the same numbers; pixel_mean and norms at their start are the same everywhere."""
    return {name for name in ours.keys() & theirs.keys() if torch.equal(ours[name], theirs[name])}


def start(
    network: nn.Module, path: Path | str, allowed: bool = False, categories: Sequence[tuple[int, str]] = ((1, "disc"),)
) -> Start:
    """The categories are those that `made.content` writes."""
    return take(network, find_parent(str(path), allow_pretrained=allowed), seed=7, categories=list(categories))


def refusal(path: Path | str, allowed: bool = False) -> str:
    """What is said of weights that are not taken, none of which may have been loaded then."""
    network = build(3, seed=1)
    before = weights(network)
    with pytest.raises(DataError) as caught:
        start(network, path, allowed)
    assert same(before, weights(network)) == before.keys()
    return str(caught.value)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ours, for 34 categories, its weights drawn from seed 0."""
    cfg = weights_config(34)
    return checkpoint.save(tmp_path_factory.mktemp("runs") / "parent.pth", content(build_network(cfg, seed=0), cfg))


def test_no_file_is_a_start_from_scratch() -> None:
    network = build(3, seed=7)
    begun = start(network, "")
    assert begun == ({"pretrained": False, "from": "random weights", "seed": 7}, [], [])
    assert same(weights(network), weights(build(3, seed=7))) == network.state_dict().keys()


def test_a_checkpoint_of_ours_is_taken_whole(parent: Path) -> None:
    network = build(34, seed=1)
    drawn = weights(build(34, seed=0))
    assert same(weights(network), drawn) != drawn.keys()

    begun = start(network, parent)

    assert same(weights(network), drawn) == drawn.keys()
    assert (begun.lineage["pretrained"], begun.lineage["from"]) == (False, "checkpoint")
    (ancestor,) = begun.lineage["parents"]
    digest = hashlib.sha256(parent.read_bytes()).hexdigest()
    assert (ancestor["file"], ancestor["sha256"], ancestor["lineage"]) == ("parent.pth", digest, LINEAGE)
    assert begun.notes == [f"parent.pth: {len(drawn)} of {len(drawn)} tensors taken over"]
    assert begun.log == [f"taken over: {name} {list(tensor.shape)}" for name, tensor in drawn.items()]


def test_the_line_goes_back_to_the_first(parent: Path, tmp_path: Path) -> None:
    """A child of a child, read back from its file."""
    lineage = start(build(34, seed=1), parent).lineage
    cfg = weights_config(34)
    child = checkpoint.save(tmp_path / "child.pth", content(build_network(cfg, seed=1), cfg, lineage=lineage))
    grandchild = start(build(34, seed=1), child).lineage
    (parent_,) = grandchild["parents"]
    assert (grandchild["pretrained"], parent_["file"], parent_["lineage"]) == (False, "child.pth", lineage)
    assert parent_["lineage"]["parents"][0]["lineage"] == LINEAGE
    # All of it plain, to be saved once more.
    path = checkpoint.save(tmp_path / "grandchild.pth", content(build(3, seed=1), cfg, lineage=grandchild))
    assert checkpoint.read(path).lineage == grandchild


def test_from_34_to_80_categories_all_but_the_predictors_is_taken(parent: Path) -> None:
    network = build(80, seed=1)
    drawn, theirs = weights(network), weights(build(34, seed=0))

    begun = start(network, parent, categories=[(at, str(at)) for at in range(80)])

    found = weights(network)
    assert same(found, theirs) == theirs.keys() - PREDICTORS
    assert {name: found[name].tolist() for name in PREDICTORS} == {name: drawn[name].tolist() for name in PREDICTORS}
    # 81 classes, the background among them, and 4 numbers for each of 80 boxes.
    assert found["roi_heads.box_predictor.cls_score.weight"].shape[0] == 81
    assert found["roi_heads.box_predictor.bbox_pred.weight"].shape[0] == 4 * 80
    first, second, third = begun.notes
    assert first == f"parent.pth: {len(found) - len(PREDICTORS)} of {len(found)} tensors taken over"
    assert second == "  1 categories there, 80 here: predictors start fresh"
    what, _, listed = third.partition(": ")
    assert (what, set(listed.split(", "))) == ("  as drawn, of other categories", PREDICTORS)
    # The log names every tensor, either way.
    assert len(begun.log) == len(found)
    fresh = {line.split(": ")[1].split(" [")[0] for line in begun.log if not line.startswith("taken over: ")}
    assert fresh == PREDICTORS


def test_as_many_but_other_categories_leave_the_predictors_as_drawn(parent: Path) -> None:
    """Shapes agree; what the rows stand for does not."""
    network = build(34, seed=1)
    drawn, theirs = weights(network), weights(build(34, seed=0))
    start(network, parent, categories=[(1, "ring")])
    found = weights(network)
    # Biases start at 0 in both.
    assert same(found, drawn) >= PREDICTORS
    assert same(found, theirs) == theirs.keys() - {name for name in PREDICTORS if name.endswith("weight")}


def test_a_box_regression_for_all_categories_alike_belongs_to_none() -> None:
    for part in ("weight", "bias"):
        name = f"roi_heads.box_predictor.1.bbox_pred.{part}"
        assert is_class_specific(name, (4 * 34, 64))
        assert not is_class_specific(name, (4, 64))
    assert is_class_specific("roi_heads.mask_head.predictor.bias", (34,))
    assert not is_class_specific("roi_heads.mask_head.deconv.bias", (34,))


def test_what_only_one_side_has_is_said(parent: Path) -> None:
    """Another model, without a mask head and with a norm less."""
    cfg = weights_config(34, "MODEL.MASK_ON", "False", "MODEL.FPN.NORM", "")
    network = build_network(cfg, seed=1)
    own, theirs = network.state_dict().keys(), build(34, seed=0).state_dict().keys()
    begun = start(network, parent)
    _, absent, unused = begun.notes
    # Each convolution of the pyramid has a bias instead of a norm: two for each of its three levels.
    assert len(own - theirs) == 2 * 3
    assert absent == f"  as drawn, not in parent.pth: {', '.join(name for name in own if name not in theirs)}"
    left = sorted(theirs - own)
    assert unused == f"  not used: {', '.join(left[:6])} and {len(left) - 6} more"
    assert all("norm" in name or "mask_head" in name for name in left)


def test_a_checkpoint_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    other = content(nn.Linear(2, 2), weights_config(3))
    for allowed in (False, True):
        checkpoint.save(path, other)
        assert refusal(path, allowed) == f"{path}: expected weights of this model, found none that fit"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.pth"), "detectron2://ImageNetPretrained/MSRA/R-50.pkl", str(tmp_path)):
        for allowed in (False, True):
            text = refusal(name, allowed)
            assert text == f"MODEL.WEIGHTS {name}: expected a checkpoint file, found none; {FROM_SCRATCH_RULE}"


def theirs_as(way: str, path: Path, state: Weights) -> None:
    """Write foreign weights as Detectron2's own checkpoint, as torchvision does, or as Detectron2's model zoo does."""
    if way == "Detectron2":
        network = build(3, seed=0)
        network.load_state_dict(state)
        DetectionCheckpointer(network, str(path.parent)).save(path.stem, iteration=90000)
    elif way == "torchvision":
        torch.save(state, path)
    else:
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody", "matching_heuristics": True}))


@pytest.mark.parametrize(("way", "name"), [("Detectron2", "a.pth"), ("torchvision", "a.pth"), ("zoo", "a.pkl")])
def test_foreign_weights_are_taken_only_where_that_is_allowed(way: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    drawn = weights(build(3, seed=0))
    theirs_as(way, path, drawn)

    text = refusal(path)
    assert text.startswith(f"MODEL.WEIGHTS: {path}: expected a checkpoint")
    assert text.endswith(f"\n{FROM_SCRATCH_RULE}")
    assert "from scratch" in text
    assert "--allow-pretrained" in text

    network = build(3, seed=1)
    changed = len(drawn) - len(same(drawn, weights(network)))
    begun = start(network, path, allowed=True)
    assert same(weights(network), drawn) == drawn.keys()
    assert begun.lineage == {
        "pretrained": True,
        "from": name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "allowed_by": "--allow-pretrained",
    }
    assert begun.notes == [f"{name}: pre-trained weights, {changed} of {len(drawn)} tensors taken"]


def test_descendants_of_foreign_weights_need_the_permission_too(tmp_path: Path) -> None:
    cfg = weights_config(3)
    third_party = tmp_path / "foreign.pth"
    torch.save(weights(build(3, seed=0)), third_party)
    line = start(build(3, seed=1), third_party, allowed=True).lineage
    last = "child.pth"
    for generation in ("child", "grandchild"):
        network = build_network(cfg, seed=0)
        path = checkpoint.save(tmp_path / f"{generation}.pth", content(network, cfg, lineage=line))
        assert refusal(path) == (
            f"MODEL.WEIGHTS {path}: goes back to pre-trained weights\n{FROM_SCRATCH_RULE}\n"
            f"  {last} starts from foreign.pth, which was trained elsewhere"
        )
        begun = start(build(3, seed=1), path, allowed=True)
        assert (begun.lineage["pretrained"], begun.lineage["parents"][0]["lineage"]) == (True, line)
        line = begun.lineage


@pytest.mark.parametrize("lineage", [{}, {"pretrained": None}, {"pretrained": 0}, {"pretrained": "False"}])
def test_a_line_that_does_not_say_is_not_trusted(lineage: dict[str, Any], tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "a.pth", content(build(3, seed=0), weights_config(3), lineage=lineage))
    assert "goes back to pre-trained weights" in refusal(path)


def test_what_detectron2_cannot_load_is_refused_even_where_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"no weights")
    assert refusal(path, allowed=True).startswith(f"MODEL.WEIGHTS {path}: Detectron2 cannot load it: ")
    torch.save({"somebody's.weight": torch.ones(2)}, path)
    assert refusal(path, allowed=True) == (f"MODEL.WEIGHTS {path}: expected weights of this model, found none that fit")


def test_detectron2_s_own_checkpointer_loads_our_file(parent: Path) -> None:
    cfg = weights_config(34)
    cfg.MODEL.DEVICE = "cpu"
    # Stock Detectron2, as a user of the file would have it: the names of our classes are all that differs.
    cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.ROI_HEADS.NAME = "RPN", "StandardROIHeads"
    stock = build_model(cfg)
    rest = DetectionCheckpointer(stock).load(str(parent))
    drawn = weights(build(34, seed=0))
    assert weights(stock).keys() == drawn.keys()
    assert same(weights(stock), drawn) == drawn.keys()
    # What it has no use for, it gives back.
    assert (rest["iteration"], rest["lineage"]) == (3, LINEAGE)


def test_weights_of_this_very_model_only() -> None:
    network, theirs = build(3, seed=1), weights(build(3, seed=0))
    load_exactly(network, theirs, Path("a.pth"))
    assert same(weights(network), theirs) == theirs.keys()
    without = dict(theirs)
    del without["roi_heads.box_head.fc1.bias"]
    reshaped = theirs | {"roi_heads.box_head.fc1.bias": torch.zeros(5)}
    for spoilt in (without, theirs | {"more": torch.zeros(1)}, reshaped):
        with pytest.raises(DataError, match=r"^a\.pth: its weights are not those of the model it names: "):
            load_exactly(build(3, seed=1), spoilt, Path("a.pth"))
