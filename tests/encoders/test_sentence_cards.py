"""What a sentence model's files say of its use is obeyed or refused, and what they leave open is asked for."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import BertForMaskedLM

from embridge.encoders import load
from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.errors import InvalidInput, SettingsError

TEXTS = ["the small red bird", "a dog", "sign", ""]
CARD = "config_sentence_transformers.json"
LAYER = "encoder.layer.1.output.dense.weight"


def change(folder, name, **keys):
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | keys))


def encoder_of(folder, **options):
    return load(f"sentence-transformers:{folder}", device="cpu", **options)


def vectors(encoder, role="document"):
    return encoder.encode(TEXTS, modality="text", role=role)


def own_vectors(folder, **options):
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS, **options)


# Similarity


@pytest.mark.slow
@pytest.mark.parametrize(("similarity", "metric"), [("dot", "dot"), ("euclidean", "l2"), ("cosine", "cosine")])
def test_vectors_are_compared_as_the_card_says(sentence_copy, similarity, metric):
    change(sentence_copy, CARD, similarity_fn_name=similarity)
    encoder = encoder_of(sentence_copy)
    assert encoder.space.metric == metric
    assert ("l2-normalised" in encoder.space.recipe) is (metric == "cosine")
    expected = own_vectors(sentence_copy, normalize_embeddings=metric == "cosine")
    np.testing.assert_allclose(vectors(encoder), expected, atol=1e-6)
    assert encoder_of(sentence_copy, metric="cosine").space == replace(encoder.space, **_by_cosine(encoder.space))


def _by_cosine(space):
    recipe = space.recipe if space.metric == "cosine" else f"l2-normalised; {space.recipe}"
    return {"metric": "cosine", "recipe": recipe}


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["manhattan", "maxsim"])
def test_a_similarity_that_no_space_has_is_refused_and_may_be_stated(sentence_copy, similarity):
    change(sentence_copy, CARD, similarity_fn_name=similarity)
    with pytest.raises(
        SettingsError, match=rf"tiny-sentences compares its vectors by {similarity}; .* State one of them as"
    ):
        encoder_of(sentence_copy)
    assert encoder_of(sentence_copy, metric="l2").space.metric == "l2"


# Prompts

NAMED = {"search_query": "the : ", "search_document": "a : ", "nothing": ""}


@pytest.mark.slow
def test_prompts_by_other_names_are_warned_of_and_can_be_named(sentence_copy):
    plain = encoder_of(sentence_copy)
    change(sentence_copy, CARD, prompts=NAMED)
    with pytest.warns(
        UserWarning, match="has the prompts search_query, search_document, and none by the name of query or"
    ):
        unnamed = encoder_of(sentence_copy)
    np.testing.assert_array_equal(vectors(unnamed, "query"), vectors(plain))
    named = encoder_of(sentence_copy, query_prompt="search_query", document_prompt="search_document")
    library = SentenceTransformer(str(sentence_copy), device="cpu")
    for role, name in (("query", "search_query"), ("document", "search_document")):
        expected = library.encode(TEXTS, prompt_name=name, normalize_embeddings=True)
        np.testing.assert_allclose(vectors(named, role), expected, atol=1e-6)
    assert named.space.recipe.endswith("query prompt 'the : '; document prompt 'a : '")
    words = encoder_of(sentence_copy, query_prompt="the : ", document_prompt="")
    np.testing.assert_array_equal(vectors(words, "query"), vectors(named, "query"))
    np.testing.assert_array_equal(vectors(words), vectors(plain))


def test_a_prompt_that_is_not_there_is_refused(sentence_copy):
    change(sentence_copy, CARD, prompts=NAMED)
    with pytest.raises(SettingsError, match="has no prompt 'search_qury'; there are search_query, search_document"):
        encoder_of(sentence_copy, query_prompt="search_qury", document_prompt="")


@pytest.mark.parametrize("prompts", [{"query": "the : "}, {"query": "a : ", "document": "the : ", "web": "dog : "}])
def test_prompts_that_are_used_are_not_warned_of(sentence_copy, prompts):
    change(sentence_copy, CARD, prompts=prompts)
    assert encoder_of(sentence_copy).space.recipe.count("prompt") == len(prompts.keys() - {"web"})


# Pooling


@pytest.mark.slow
def test_a_pooling_that_nothing_says_is_warned_of_and_can_be_stated(plain_bert):
    with pytest.warns(
        UserWarning, match=r"tiny-bert has no modules\.json, .*: mean pooling is assumed\. State pooling"
    ):
        assumed = encoder_of(plain_bert)
    np.testing.assert_array_equal(vectors(encoder_of(plain_bert, pooling="mean")), vectors(assumed))
    first = encoder_of(plain_bert, pooling="cls")
    tokens = own_vectors(plain_bert, output_value="token_embeddings")
    expected = np.stack([rows[0] / np.linalg.norm(rows[0]) for rows in (one.numpy() for one in tokens)])
    np.testing.assert_allclose(vectors(first), expected, atol=1e-6)
    assert (assumed.space.recipe, first.space.recipe) == (
        "l2-normalised; mean pooling; up to 16 tokens",
        "l2-normalised; cls pooling; up to 16 tokens",
    )
    with pytest.raises(SettingsError, match=r"pooling is one of cls, mean, .*; came 'first'"):
        encoder_of(plain_bert, pooling="first")


def test_a_pooling_that_the_files_say_is_theirs(sentence_folder):
    with pytest.raises(SettingsError, match=r"says its own pooling in modules\.json; leave pooling out"):
        encoder_of(sentence_folder, pooling="mean")


def test_shorter_vectors_and_texts_are_as_the_card_says(sentence_copy):
    change(sentence_copy, CARD, truncate_dim=5)
    change(sentence_copy, "sentence_bert_config.json", max_seq_length=6)
    encoder = encoder_of(sentence_copy)
    assert (encoder.space.dim, encoder.longest_text) == (5, 6)
    np.testing.assert_allclose(np.linalg.norm(vectors(encoder), axis=1), 1, atol=1e-6)
    with pytest.warns(UserWarning, match="tiny-sentences: 1 of 2 texts was cut at 6 tokens, all that the model takes"):
        encoder.encode(["a dog on tree", "a dog on tree under"], modality="text")


# Whole weights


def with_weights(folder, edit):
    file = folder / "model.safetensors"
    save_file(edit(load_file(file)), file, metadata={"format": "pt"})


REFUSED = {
    "missing": (
        lambda w: {k: v for k, v in w.items() if k != LAYER},
        rf"lacks 1 of its model's weights, for instance {LAYER};",
    ),
    "missing many": (
        lambda w: {k: v for k, v in w.items() if "layer.1" not in k},
        r"lacks 16 of its model's weights, for instance encoder\.layer\.1\..*, .*, .* …;",
    ),
    "left over": (
        lambda w: w | {"encoder.layer.2.output.dense.weight": w[LAYER].clone()},
        r"the weight encoder\.layer\.2\.output\.dense\.weight is unknown to the model",
    ),
    "of no part": (lambda w: w | {"extra.weight": torch.ones(1)}, r"the weight extra\.weight is unknown to the model"),
    "other shape": (lambda w: w | {LAYER: w[LAYER][:5].clone()}, "cannot be loaded as a sentence model"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_weights_that_are_not_the_models_are_refused(sentence_copy, name):
    edit, message = REFUSED[name]
    with_weights(sentence_copy, edit)
    with pytest.raises(InvalidInput, match=f"tiny-sentences.*{message}"):
        SentenceTransformerEncoder(sentence_copy, device="cpu")


def test_fewer_layers_than_weights_are_refused(sentence_copy):
    change(sentence_copy, "config.json", num_hidden_layers=1)
    with pytest.raises(
        InvalidInput, match=r"16 weights \(encoder\.layer\.1\..* …\) are unknown to the model that config"
    ):
        SentenceTransformerEncoder(sentence_copy, device="cpu")


def test_another_shape_is_refused_even_where_the_files_would_have_it(sentence_copy):
    with_weights(sentence_copy, REFUSED["other shape"][0])
    change(sentence_copy, "sentence_bert_config.json", model_args={"ignore_mismatched_sizes": True})
    with pytest.raises(InvalidInput, match=rf"the weight {LAYER} is of another shape than config\.json says"):
        SentenceTransformerEncoder(sentence_copy, device="cpu")


def test_a_layer_of_its_own_without_weights_is_refused(sentence_copy):
    (sentence_copy / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="cannot be loaded as a sentence model"):
        SentenceTransformerEncoder(sentence_copy, device="cpu")


def test_what_no_vector_is_made_with_may_be_missing_or_left_over(sentence_copy, sentence_folder):
    positions = {"embeddings.position_ids": torch.arange(16)[None]}
    with_weights(sentence_copy, lambda w: {k: v for k, v in w.items() if "pooler" not in k} | positions)
    np.testing.assert_array_equal(vectors(encoder_of(sentence_copy)), vectors(encoder_of(sentence_folder)))


@pytest.mark.slow
def test_a_head_that_the_config_names_is_no_fault(plain_bert, tmp_path):
    folder = shutil.copytree(plain_bert, tmp_path / "masked")
    BertForMaskedLM.from_pretrained(plain_bert).save_pretrained(folder)
    np.testing.assert_allclose(
        vectors(encoder_of(folder, pooling="cls")), vectors(encoder_of(plain_bert, pooling="cls")), atol=1e-6
    )


def test_halves_are_computed_in_full_precision(sentence_copy, sentence_folder):
    change(sentence_copy, "config.json", dtype="float16")  # which transformers 5 would round the weights to
    halved, full = encoder_of(sentence_copy), encoder_of(sentence_folder)
    np.testing.assert_array_equal(vectors(halved), vectors(full))
    assert halved.space.revision != full.space.revision
