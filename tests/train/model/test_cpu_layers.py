"""Layers that are faster on a CPU, against those that they replace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.train.conftest import small_config
from train.data.mapper import TrainingMapper
from train.data.read import TrainingData
from train.data.sampler import Key
from train.model.build import build_network
from train.model.cpu_layers import FASTER, ChannelsLastStem, use_faster_layers
from train.model.roi_align import SeparableROIAlign

# isort: split
from detectron2.layers import ROIAlign
from detectron2.modeling.backbone.resnet import BasicStem
from detectron2.utils.events import EventStorage


def test_the_stem_gives_the_same_values_and_gradients_to_the_bit() -> None:
    torch.manual_seed(0)
    stem = BasicStem(3, 16, norm="")
    faster = BasicStem(3, 16, norm="")
    faster.load_state_dict(stem.state_dict())
    use_faster_layers(faster)
    assert type(faster) is ChannelsLastStem
    image = torch.randn(2, 3, 33, 50)
    expected, found = stem(image), faster(image)
    assert torch.equal(found, expected)
    assert found.is_contiguous()
    slope = torch.randn_like(expected)
    for one, result in ((stem, expected), (faster, found)):
        (one.conv1.weight.grad,) = torch.autograd.grad(result, one.conv1.weight, slope)
    assert torch.allclose(faster.conv1.weight.grad, stem.conv1.weight.grad, rtol=1e-5)


@pytest.mark.parametrize("model", ["tiny", "tiny-cascade"])
def test_a_model_keeps_its_names_and_its_losses(model: str, drawn_data: TrainingData) -> None:
    cfg = small_config(model, "MODEL.ROI_HEADS.NUM_CLASSES", str(len(drawn_data.categories)))
    mapper = TrainingMapper(cfg, masks=True, seed=0)
    batch = [mapper(drawn_data.records[index], Key(0, index)) for index in (0, 1)]
    plain, faster = build_network(cfg, seed=0), build_network(cfg, seed=0)
    use_faster_layers(faster)
    assert plain.state_dict().keys() == faster.state_dict().keys()
    kinds = {type(module) for module in faster.modules()}
    assert SeparableROIAlign in kinds
    assert not kinds & FASTER.keys()
    gradients, losses = [], []
    for network in (plain, faster):
        torch.manual_seed(0)
        with EventStorage():
            found = network(batch)
        sum(found.values()).backward()
        losses.append({name: float(loss.detach()) for name, loss in found.items()})
        gradients.append({name: weight.grad for name, weight in network.named_parameters()})
    # The forward pass is the same to the bit.
    assert losses[0] == losses[1]
    for name, expected in gradients[0].items():
        gradient = gradients[1][name]
        assert expected is not None
        assert gradient is not None
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-5), name


def test_layers_that_are_not_detectron2s_own_stay() -> None:
    class Other(ROIAlign):  # type: ignore[misc]
        pass

    holder = nn.ModuleList([Other(7, 0.25, 0, True)])
    use_faster_layers(holder)
    assert type(holder[0]) is Other
