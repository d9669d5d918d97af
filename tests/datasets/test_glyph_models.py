import numpy as np
import pytest

from embridge.datasets import glyph_models, glyphs
from embridge.encoders.clip import ClipEncoder

NAMES = ("old", "new")
LARGEST_BYTES = 4_000_000


@pytest.fixture(scope="module")
def held_out():
    return glyphs.render(glyphs.split()["test"], one_each=True)


def text_to_image_recall(texts, images, k):
    """Of texts whose image is the one of the same row; a tie counts against."""
    similarity = texts @ images.T
    better = (similarity >= similarity.diagonal()[:, None]).sum(1) - 1
    return (better < k).mean()


def recall_at_10(name, held_out):
    encoder = ClipEncoder(glyph_models.folder(name), device="cpu")
    texts = encoder.encode(held_out.captions, modality="text")
    return text_to_image_recall(texts, encoder.encode(held_out.images, modality="image"), 10)


@pytest.mark.slow
def test_the_old_model_finds_what_the_docs_say(held_out):
    assert 0.35 < recall_at_10("old", held_out) < 0.50


@pytest.mark.slow
def test_the_new_model_finds_what_the_docs_say(held_out):
    assert recall_at_10("new", held_out) >= 0.65


@pytest.mark.slow
def test_random_vectors_find_at_chance(held_out):
    rng, n = np.random.default_rng(0), len(held_out.images)
    recalls = [text_to_image_recall(*rng.standard_normal((2, n, 64), dtype=np.float32), 10) for _ in range(10)]
    assert abs(np.mean(recalls) - 10 / n) < 4 * np.sqrt(10 / n / (n * len(recalls)))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_holds_no_pickle(name):
    files = {file.name: file.stat().st_size for file in glyph_models.folder(name).iterdir()}
    assert set(files) >= {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"}
    assert files["model.safetensors"] <= LARGEST_BYTES
    assert not [file for file in files if file.endswith((".bin", ".pt", ".pkl"))]


@pytest.mark.slow
def test_the_two_models_are_two_spaces_of_growing_dim():
    old, new = (ClipEncoder(glyph_models.folder(name), device="cpu").space for name in NAMES)
    assert (old.model, old.dim, new.model, new.dim) == ("old", 64, "new", 128)
    assert old.id != new.id
