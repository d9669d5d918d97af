import subprocess
import sys

import pytest

from embridge import encoders
from embridge.encoders.clip import ClipEncoder
from embridge.errors import SettingsError, SpaceMismatch

BLOCKED = """
import sys
sys.modules[{module!r}] = None
from embridge.encoders import load
assert "torch" not in sys.modules, "finding an encoder must not import torch"
from embridge.errors import MissingExtra
try:
    load({name!r})
except MissingExtra as error:
    print(error)
"""


def test_a_name_gives_the_providers_encoder_with_its_options(folders):
    encoder = encoders.load(f"clip:{folders['clip']}", device="cpu", batch_size=3)
    assert isinstance(encoder, ClipEncoder)
    assert isinstance(encoder, encoders.Encoder)
    assert (encoder.batch_size, encoder.device) == (3, "cpu")


@pytest.mark.parametrize("name", ["word2vec:google-news", "clip", "clip:", ":folder", ""])
def test_an_unknown_provider_is_refused_with_those_there_are(name):
    with pytest.raises(
        SettingsError, match=f"one of clip, http, open_clip, sentence-transformers, trained; came '{name}'"
    ):
        encoders.load(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("transformers", "clip:somewhere", "clip"),
        ("sentence_transformers", "sentence-transformers:somewhere", "text"),
        ("open_clip", "open_clip:ViT-B-32:openai", "open-clip"),
        ("httpx", "http:model@http://localhost/v1", "http"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(module, name, extra):
    code = BLOCKED.format(module=module, name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{module} is needed here" in done.stdout
    assert f"pip install 'embridge[{extra}]'" in done.stdout


def test_an_option_that_a_model_does_not_take_is_refused_before_it_is_loaded(tmp_path):
    with pytest.raises(SettingsError, match=r"trained:.* a model of embridge train takes no revision"):
        print(encoders.LazyEncoder(f"trained:{tmp_path}", revision="7").space)


def test_a_folder_that_changes_between_its_space_and_its_weights_is_noticed(clip_copy):
    lazy = encoders.LazyEncoder(f"clip:{clip_copy}", device="cpu")
    before = lazy.space
    file = clip_copy / "config.json"
    file.write_text(file.read_text().replace('"hidden_act": "quick_gelu"', '"hidden_act": "relu"'))
    with pytest.raises(SpaceMismatch, match=f"whose files have changed: expected vectors of .*{before.revision}"):
        lazy.encode(["a cat"], modality="text")
