import json

import numpy as np
import pytest
import torch

from embridge.adapters import Identity, Prefix, Provenance, Upgrade
from embridge.backbones.embedding import AsGiven, BasisChange, UnitLength
from embridge.backbones.pixels import Pixels
from embridge.backbones.resnet import SmallResNet
from embridge.backbones.saved import CONFIG, TrainedModel, space_of_folder
from embridge.backbones.vectors import VectorHead
from embridge.encoders import load
from embridge.encoders.squares import square_pixels
from embridge.encoders.trained import TrainedEncoder
from embridge.errors import ArtefactError, InvalidInput, SettingsError
from embridge.space import Space
from embridge.testing import check_encoder

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 9, 3), dtype=np.uint8)


def made(embedding=None, dim=7, side=8, seed=0, name="toy"):
    embedding = UnitLength() if embedding is None else embedding
    return TrainedModel(
        name, SmallResNet(7, width=4, depth=8, seed=seed), embedding, dim=dim, pixels=Pixels(side)
    ).eval()


@pytest.mark.parametrize("embedding", [AsGiven(), UnitLength(), BasisChange(dim=4, old_dim=3, extra=2)])
def test_a_model_comes_back_as_it_was(embedding, tmp_path):
    model = made(embedding, dim=6 if isinstance(embedding, BasisChange) else 7)
    folder = model.save(tmp_path / "m", provenance={"method": "toy"})
    loaded, provenance = TrainedModel.load(folder)
    x = torch.from_numpy(square_pixels(IMAGES, 8))
    assert torch.equal(loaded(x), model(x))
    assert (loaded.space, provenance) == (model.space, {"method": "toy"})
    torch.testing.assert_close(loaded(x).norm(dim=1), torch.ones(5))


def test_the_same_model_gives_the_same_bytes_and_a_name_that_no_other_has(tmp_path):
    for name, seed in (("one", 0), ("two", 0)):
        made(seed=seed).save(tmp_path / name, provenance={})
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    spaces = [m.space for m in (made(), made(seed=1), made(side=16), made(AsGiven()), made(name="other"))]
    assert len(set(spaces)) == 5
    assert spaces[0].revision == spaces[2].revision != spaces[1].revision
    assert spaces[0].recipe.startswith("l2-normalised; pixels 8x8; small-resnet ")


def test_a_model_on_vectors_comes_back(tmp_path):
    model = TrainedModel("toy", VectorHead(4, 3, hidden_width=5), AsGiven(), dim=3).eval()
    loaded, _ = TrainedModel.load(model.save(tmp_path / "m", provenance={}))
    assert torch.equal(loaded(torch.eye(4)), model(torch.eye(4)))
    with pytest.raises(SettingsError, match="trained on vectors of a frozen model, not on images"):
        TrainedEncoder(tmp_path / "m")


def test_the_encoder_of_a_folder_keeps_the_contract(tmp_path):
    folder = made().save(tmp_path / "m", provenance={})
    encoder = load(f"trained:{folder}", device="cpu", batch_size=2)
    check_encoder(encoder, image_items=list(IMAGES))
    calls = []
    encoder.progress = lambda *call: calls.append(call)
    encoder.encode(IMAGES, modality="image")
    assert calls == [(2, 5, "toy: image"), (4, 5, "toy: image"), (5, 5, "toy: image")]
    with pytest.raises(InvalidInput, match=r"image 3 \(none\.png\) cannot be read"):
        encoder.encode([*IMAGES[:3], "none.png"], modality="image")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("harm", ["truncated", "altered", "gone"])
def test_a_damaged_folder_is_refused(file, harm, tmp_path):
    folder = made().save(tmp_path / "m", provenance={})
    content = (folder / file).read_bytes()
    (folder / file).unlink()
    if harm != "gone":
        (folder / file).write_bytes(
            content[:-40] if harm == "truncated" else content[:-60] + content[-60:].swapcase() + b" "
        )
    with pytest.raises(ArtefactError, match=r"truncated|altered|expected config|lacks|not match"):
        TrainedModel.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "embridge trained model, 2"}, "expected 'embridge trained model, 1', came"),
        ({"backbone": {"kind": "mamba"}}, "there is no 'mamba'"),
        ({"backbone": {"kind": "small-resnet", "feature_dim": 5}}, "no trained model that can be made again"),
        ({"dim": None}, "no trained model that can be made again"),
        ({"dim": 9}, "its weights give rows of 7 dims, and its config says 9"),
        ({"provenance": [1]}, "no trained model that can be made again"),
    ],
)
def test_a_foreign_config_is_refused(change, message, tmp_path):
    from embridge.adapters.upgrade import seal

    folder = made().save(tmp_path / "m", provenance={})
    manifest = json.loads((folder / CONFIG).read_text()) | change
    manifest.pop("sha256")
    (folder / CONFIG).write_text(json.dumps(manifest | {"sha256": seal(manifest)}))
    with pytest.raises(ArtefactError, match=message):
        TrainedModel.load(folder)


def test_a_network_is_given_only_where_there_is_one_to_give(tmp_path):
    folder = made().save(tmp_path / "m", provenance={})
    with pytest.raises(SettingsError, match="its backbone is of the kind 'small-resnet'; a network is given for"):
        TrainedModel.load(folder, network=torch.nn.Flatten())


def test_an_upgrade_is_written_and_replaced_with_its_model_and_what_others_wrote_stays(tmp_path):
    def upgrade(model):
        return Upgrade(
            Identity(model.space, model.space), Prefix(model.space, Space("old", "1", 2)), Provenance("hand")
        )

    first, second = made(seed=0), made(seed=1)
    folder = first.save(tmp_path / "m", provenance={}, upgrade=upgrade(first))
    assert Upgrade.load(folder / "upgrade").new_space == first.space
    for name in ("notes.txt", "upgrade/bridge.onnx"):
        (folder / name).write_text("mine")
    second.save(folder, provenance={}, upgrade=upgrade(second))
    assert Upgrade.load(folder / "upgrade").new_space == second.space == space_of_folder(folder)
    first.save(folder, provenance={})
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*")} == {
        "config.json", "model.safetensors", "notes.txt", "upgrade", "upgrade/bridge.onnx",
    }  # fmt: skip


def test_the_model_of_another_library_is_not_overwritten(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(InvalidInput, match="holds another model and is not overwritten"):
        made().save(tmp_path, provenance={})
    assert (tmp_path / "config.json").read_text() == '{"model_type": "clip"}'


def test_another_folder_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="is not overwritten"):
        made().save(tmp_path, provenance={})


def test_squares_of_any_size_and_kind():
    from PIL import Image

    grey = IMAGES[:, :, :, 0]
    assert square_pixels([*IMAGES[:2], grey[0], Image.fromarray(grey[1])], 8).shape == (4, 3, 8, 8)
    np.testing.assert_array_equal(square_pixels(list(grey), 8), square_pixels(grey, 8))
    with pytest.raises(SettingsError, match="a side of at least 1 pixel, came 0"):
        square_pixels(IMAGES, 0)
