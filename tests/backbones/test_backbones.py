import inspect

import pytest
import torch
from torch import nn
from transformers import AutoModel, ViTConfig, ViTModel

from embridge.backbones import BACKBONES, default_backbone, make_backbone
from embridge.backbones.base import Backbone, OwnBackbone, drawn_from
from embridge.backbones.embedding import BasisChange
from embridge.backbones.pixels import Pixels
from embridge.backbones.resnet import SmallResNet
from embridge.backbones.vectors import VectorHead
from embridge.backbones.vision import VisionBackbone
from embridge.errors import InvalidInput, SettingsError
from embridge.space import Space

VIT = {"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VIT |= {"intermediate_size": 32, "image_size": 16, "patch_size": 8}
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
CONVNEXT = {"model_type": "convnext", "hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))

MADE = {
    "small-resnet": lambda seed: SmallResNet(6, width=4, depth=8, seed=seed),
    "vit": lambda seed: VisionBackbone(VIT, 6, seed=seed),
    "resnet": lambda seed: VisionBackbone(RESNET, 6, seed=seed),
    "convnext": lambda seed: VisionBackbone(CONVNEXT, 6, seed=seed),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_features_are_signed_and_every_weight_takes_part(name):
    backbone = MADE[name](0)
    features = backbone(IMAGES)
    assert features.shape == (3, backbone.feature_dim) == (3, 6)
    assert (features < 0).any()
    features.square().sum().backward()
    unused = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert unused == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_weights_are_drawn_from_the_seed_alone(name):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two, three = (torch.cat([p.flatten() for p in MADE[name](seed).parameters()]) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_a_config_makes_the_same_network(name):
    backbone = MADE[name](0).eval()
    again = type(backbone)(**backbone.config()).eval()
    again.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        assert torch.equal(again(IMAGES), backbone(IMAGES))


@pytest.mark.parametrize(("depth", "convolutions"), [(8, 7), (20, 19), (32, 31)])
def test_depth_counts_the_layers_on_the_way(depth, convolutions):
    backbone = SmallResNet(5, width=2, depth=depth)
    on_the_way = [n for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d) and "past" not in n]
    assert len(on_the_way) == convolutions  # and the linear layer
    assert backbone.last.weight.shape == (5, 8)


@pytest.mark.parametrize("settings", [{"depth": 9}, {"depth": 2}, {"width": 0}, {"feature_dim": 0}])
def test_impossible_networks_are_refused(settings):
    with pytest.raises(SettingsError, match=r"small-resnet: (depth|width|feature_dim) is"):
        SmallResNet(**{"feature_dim": 4, **settings})


@pytest.mark.slow
def test_a_model_of_a_folder_keeps_its_weights(tmp_path):
    config = ViTConfig(**{k: v for k, v in VIT.items() if k != "model_type"})
    with drawn_from(3):
        model = ViTModel(config).eval()
    model.save_pretrained(tmp_path / "vit")
    backbone = VisionBackbone.from_folder(tmp_path / "vit", 6).eval()
    with torch.no_grad():
        pooled = AutoModel.from_pretrained(tmp_path / "vit").eval()(IMAGES).pooler_output
        torch.testing.assert_close(backbone(IMAGES), backbone.last(pooled))


def test_a_model_without_a_pooler_is_averaged():
    backbone = VisionBackbone({**VIT, "model_type": "vit_mae"}, 6).eval()
    with torch.no_grad():
        hidden = backbone.model(IMAGES, noise=torch.zeros(3, 4)).last_hidden_state
    assert backbone.last.weight.shape == (6, hidden.shape[-1])


def test_what_is_no_vision_model_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"transformers makes no model of this config .model_type 'none'"):
        VisionBackbone({"model_type": "none"}, 4)
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
    with pytest.raises(SettingsError, match="BertModel is not a model of images alone"):
        VisionBackbone({"model_type": "bert", **tiny}, 4)
    with pytest.raises(InvalidInput, match="there is no folder"):
        VisionBackbone.from_folder(tmp_path / "none", 4)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="holds no model that can be read"):
        VisionBackbone.from_folder(tmp_path, 4)


def test_a_network_of_ones_own_may_end_in_any_shape():
    backbone = OwnBackbone(nn.Conv2d(3, 2, 8, stride=8), width=8, feature_dim=5)
    assert backbone(IMAGES).shape == (3, 5)
    assert OwnBackbone(nn.Flatten(), width=768)(IMAGES).shape == (3, 768)
    with pytest.raises(SettingsError, match="own backbone: width is a whole number of at least 1, came 0"):
        OwnBackbone(nn.Flatten(), width=0)


@pytest.mark.parametrize("hidden_width", [0, 7])
def test_a_head_is_its_adapter(hidden_width):
    head, x = (
        VectorHead(5, 3, hidden_width=hidden_width),
        torch.randn(20, 5, generator=torch.Generator().manual_seed(1)),
    )
    rows = torch.from_numpy(head.to_adapter(Space("a", "1", 5), Space("b", "1", 3)).apply(x.numpy()))
    with torch.no_grad():
        expected = nn.functional.normalize(head(x))
    torch.testing.assert_close(nn.functional.normalize(rows), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(3 * x), head(x))


def test_a_change_of_bases_keeps_lengths():
    change = BasisChange(dim=4, old_dim=3, extra=2, emphasis=3.0)
    lengths = change(torch.randn(9, 7, generator=torch.Generator().manual_seed(0))).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((9,), 10**0.5))
    assert change.config() == {"dim": 4, "old_dim": 3, "extra": 2, "emphasis": 3.0}


@pytest.mark.parametrize(
    "settings", [{"side": 0}, {"std": (1.0, 0.0, 1.0)}, {"mean": (float("nan"), 0.0, 0.0)}], ids=["side", "std", "mean"]
)
def test_impossible_pixels_are_refused(settings):
    with pytest.raises(SettingsError, match="pixels: expected a side of at least 1, three means"):
        Pixels(**{"side": 4, **settings})


def test_pixels_are_shifted_and_scaled():
    x = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = Pixels(4, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    for c, (mean, std) in enumerate(zip(pixels.mean, pixels.std, strict=True)):
        torch.testing.assert_close(pixels.scaled(x)[:, c], (x[:, c] / 255 - mean) / std)
    assert Pixels.from_dict(pixels.to_dict()) == pixels


# The table


@pytest.mark.parametrize("name", BACKBONES)
def test_a_record_is_true_of_its_class(name):
    record = BACKBONES[name]
    kind = record.load()
    assert issubclass(kind, Backbone)
    assert (kind.kind, kind.takes) == (name, record.takes)
    own = {key for key, p in inspect.signature(kind).parameters.items() if p.kind is p.KEYWORD_ONLY} - {"seed"}
    assert own == set(record.settings)
    assert hasattr(kind, "from_folder") == record.from_folder


def test_what_a_name_makes(tmp_path):
    made = make_backbone("small-resnet", 6, settings={"width": 4, "depth": 8}, seed=3)
    assert torch.equal(made.last.weight, SmallResNet(6, width=4, depth=8, seed=3).last.weight)
    head = make_backbone("vector-head", 6, settings={"hidden_width": 5}, source_dim=7, seed=3)
    assert head.config() == {"source_dim": 7, "feature_dim": 6, "hidden_width": 5}
    AutoModel.from_config(ViTConfig(**{k: v for k, v in VIT.items() if k != "model_type"})).save_pretrained(tmp_path)
    vision = make_backbone("vision", 6, folder=tmp_path, seed=3)
    assert torch.equal(vision.last.weight, VisionBackbone.from_folder(tmp_path, 6, seed=3).last.weight)
    assert (default_backbone("images"), default_backbone("vectors")) == ("small-resnet", "vector-head")


def test_what_no_name_makes_is_refused():
    with pytest.raises(
        SettingsError, match="a backbone is one of small-resnet, vision, vector-head; came 'big-resnet'"
    ):
        make_backbone("big-resnet", 6)
    with pytest.raises(SettingsError, match=r"vision has no setting width; it has \[\]"):
        make_backbone("vision", 6, settings={"width": 4})
