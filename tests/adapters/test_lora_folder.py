"""Upgrades that carry a LoRA: two files that nothing here needs peft to check."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from embridge.adapters import Identity, Linear, Provenance, Upgrade
from embridge.adapters.lora_folder import space_with_lora
from embridge.adapters.upgrade import seal
from embridge.errors import ArtefactError
from embridge.space import Space

WITHOUT_LORA, OLD = Space("new", "1", 4, recipe="l2-normalised"), Space("old", "1", 3)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def make_lora(folder, value=1.0, alpha=8):
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": alpha}))
    save_file({"lora_A": np.full((2, 2), value, np.float32)}, folder / WEIGHTS)
    return folder


def upgrade(lora, new=WITHOUT_LORA):
    new = space_with_lora(new, lora)
    return Upgrade(Identity(new, new), Linear(new, OLD, np.eye(4, 3, dtype=np.float32)), Provenance("hand"), lora=lora)


@pytest.fixture
def lora(tmp_path):
    return make_lora(tmp_path / "made")


def test_the_space_names_exactly_this_lora(tmp_path, lora):
    space = space_with_lora(WITHOUT_LORA, lora)
    assert space.recipe.startswith("l2-normalised; lora ")
    assert replace(space, recipe=WITHOUT_LORA.recipe) == WITHOUT_LORA
    assert space_with_lora(WITHOUT_LORA, shutil.copytree(lora, tmp_path / "copy")) == space
    others = [make_lora(tmp_path / "weights", value=2.0), make_lora(tmp_path / "strength", alpha=16)]
    assert len({space, *(space_with_lora(WITHOUT_LORA, other) for other in others)}) == 3
    assert space_with_lora(Space("bare", "1", 4), lora).recipe.startswith("lora ")


def test_it_is_copied_into_the_artefact_and_found_there(tmp_path, lora):
    folder = upgrade(lora).save(tmp_path / "up")
    shutil.rmtree(lora)
    loaded = Upgrade.load(folder)
    assert loaded.lora == folder / "lora"
    assert loaded.new_space.recipe == upgrade(loaded.lora).new_space.recipe
    manifest = json.loads((folder / "upgrade.json").read_text())
    for name in (CONFIG, WEIGHTS):
        assert manifest["lora_sha256"][name] == hashlib.sha256((folder / "lora" / name).read_bytes()).hexdigest()
    assert "with the LoRA in `lora` attached" in (folder / "README.md").read_text()


def test_saving_over_itself_keeps_it(tmp_path, lora):
    folder = upgrade(lora).save(tmp_path / "up")
    before = {p.name: p.read_bytes() for p in (folder / "lora").iterdir()}
    for _ in range(2):
        Upgrade.load(folder).save(folder, report={"n": 3}, card="measured")
    assert {p.name: p.read_bytes() for p in (folder / "lora").iterdir()} == before
    assert Upgrade.load(folder).lora == folder / "lora"


def test_an_upgrade_without_one_is_written_as_before(tmp_path):
    folder = replace_lora_with_nothing().save(tmp_path / "up")
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "upgrade.json", "weights.safetensors"]
    manifest = json.loads((folder / "upgrade.json").read_text())
    assert set(manifest) == {
        "schema",
        "direction",
        "head",
        "bridge",
        "provenance",
        "weights_sha256",
        "written",
        "sha256",
    }
    assert Upgrade.load(folder).lora is None


def replace_lora_with_nothing():
    return Upgrade(
        Identity(WITHOUT_LORA, WITHOUT_LORA),
        Linear(WITHOUT_LORA, OLD, np.eye(4, 3, dtype=np.float32)),
        Provenance("hand"),
    )


def test_one_without_replaces_one_with_it(tmp_path, lora):
    upgrade(lora).save(tmp_path / "up")
    replace_lora_with_nothing().save(tmp_path / "up")
    assert not (tmp_path / "up" / "lora").exists()


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_altered_or_missing_files_are_refused(tmp_path, lora, name):
    file = upgrade(lora).save(tmp_path / "up") / "lora" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtefactError, match=f"{name} is not the file the upgrade was written with"):
        Upgrade.load(tmp_path / "up")
    file.unlink()
    with pytest.raises(ArtefactError, match=f"lacks {name}: a LoRA is a folder with"):
        Upgrade.load(tmp_path / "up")


@pytest.mark.parametrize("hashes", [None, 7, {}, {CONFIG: "x"}])
@pytest.mark.usefixtures("as_in_production")
def test_hashes_that_are_none_are_refused(tmp_path, lora, hashes):
    folder = upgrade(lora).save(tmp_path / "up")
    manifest = json.loads((folder / "upgrade.json").read_text()) | {"lora_sha256": hashes}
    manifest.pop("sha256")
    (folder / "upgrade.json").write_text(json.dumps(manifest | {"sha256": seal(manifest)}))
    with pytest.raises(ArtefactError, match=r"lacks or misnames|is not the file the upgrade was written with"):
        Upgrade.load(folder)


def test_the_lora_of_another_space_is_neither_saved_nor_loaded(tmp_path, lora):
    other = make_lora(tmp_path / "other", value=2.0)
    with pytest.raises(ArtefactError, match=r"is not the LoRA of new@1 .*its recipe should end in 'lora \w{12}'"):
        replace(upgrade(lora), lora=other).save(tmp_path / "up")
    assert not (tmp_path / "up").exists()
    folder = upgrade(lora).save(tmp_path / "up")
    shutil.copy(other / WEIGHTS, folder / "lora" / WEIGHTS)
    manifest = json.loads((folder / "upgrade.json").read_text())
    manifest["lora_sha256"][WEIGHTS] = hashlib.sha256((other / WEIGHTS).read_bytes()).hexdigest()
    manifest.pop("sha256")
    (folder / "upgrade.json").write_text(json.dumps(manifest | {"sha256": seal(manifest)}))
    with pytest.raises(ArtefactError, match="is not the LoRA of new@1"):
        Upgrade.load(folder)


def test_a_folder_that_is_gone_is_not_saved(tmp_path, lora):
    made = upgrade(lora)
    shutil.rmtree(lora)
    with pytest.raises(ArtefactError, match=r"lacks adapter_config\.json"):
        made.save(tmp_path / "up")
    assert not (tmp_path / "up").exists()
