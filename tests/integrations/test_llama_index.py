"""LlamaIndex's index with the new model in the space of the old one."""

import asyncio

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import TextNode
from numbers_encoder import NumbersEncoder
from served import NEW, OLD, UPGRADE

from embridge import Space, SpaceMismatch
from embridge.integrations.llama_index import UpgradedEmbedding

pytestmark = pytest.mark.slow  # the library takes a second to import


def test_an_index_of_old_vectors_is_searched_and_written_by_the_new_model():
    texts = ["1 0", "0 1", "1 1"]
    rows = NumbersEncoder(OLD).encode(texts, modality="text").tolist()
    nodes = [TextNode(text=text, embedding=row) for text, row in zip(texts, rows, strict=True)]
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(OLD.dim))  # they have vectors: it is not asked
    model = UpgradedEmbedding(NumbersEncoder(NEW), UPGRADE, embed_batch_size=7)
    retriever = index.as_retriever(similarity_top_k=2, embed_model=model)
    assert [hit.node.text for hit in retriever.retrieve("1 3 9 9")] == ["0 1", "1 1"]
    assert (model.model_name, model.embed_batch_size, model.class_name()) == ("new@old", 7, "UpgradedEmbedding")


def test_each_side_has_its_vectors():
    new = UpgradedEmbedding(NumbersEncoder(NEW), UPGRADE, side="new")
    assert new.model_name == "new"
    assert new.get_text_embedding_batch(["3 4 0 0", "1 2 3 4"]) == [[3, 4, 0, 0], [1, 2, 3, 4]]
    old = UpgradedEmbedding(NumbersEncoder(NEW), UPGRADE)
    assert asyncio.run(old.aget_query_embedding("3 4 0 0")) == pytest.approx([0.6, 0.8])
    assert asyncio.run(old.aget_text_embedding_batch(["3 4 0 0"])) == [pytest.approx([0.6, 0.8])]
    assert asyncio.run(old.aget_text_embedding("3 4 0 0")) == old.get_text_embedding("3 4 0 0")


def test_another_model_is_refused():
    with pytest.raises(SpaceMismatch, match="third"):
        UpgradedEmbedding(NumbersEncoder(Space("third", "1", 4)), UPGRADE)
