"""LangChain's vector stores with the new model in the space of the old one."""

import asyncio

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from numbers_encoder import NumbersEncoder
from served import NEW, OLD, UPGRADE

from embridge import SettingsError, Space, SpaceMismatch, Upgrade, WrongDirection
from embridge.adapters import Identity, Provenance
from embridge.adapters.linear import Linear
from embridge.integrations.langchain import UpgradedEmbeddings

pytestmark = pytest.mark.slow  # the library takes a second to import


class OldModel(Embeddings):
    def embed_documents(self, texts):
        return NumbersEncoder(OLD).encode(texts, modality="text").tolist()

    def embed_query(self, text):
        return self.embed_documents([text])[0]


def test_a_store_of_the_old_model_is_searched_and_written_by_the_new_one(tmp_path):
    file = str(tmp_path / "index.json")
    store = InMemoryVectorStore(OldModel())
    store.add_texts(["1 0", "0 1", "1 1"])
    store.dump(file)
    upgraded = InMemoryVectorStore.load(file, UpgradedEmbeddings(NumbersEncoder(NEW), UPGRADE))
    assert [hit.page_content for hit in upgraded.similarity_search("1 3 9 9", k=2)] == ["0 1", "1 1"]
    upgraded.add_texts(["1 3 0 7"])
    hit, score = upgraded.similarity_search_with_score("1 3 9 9", k=1)[0]
    assert (hit.page_content, score) == ("1 3 0 7", pytest.approx(1))


def test_each_side_has_its_vectors():
    new = UpgradedEmbeddings(NumbersEncoder(NEW), UPGRADE, side="new")
    assert new.embed_documents(["3 4 0 0", "1 2 3 4"]) == [[3, 4, 0, 0], [1, 2, 3, 4]]
    assert new.embed_documents([]) == []
    old = UpgradedEmbeddings(NumbersEncoder(NEW), UPGRADE)
    assert asyncio.run(old.aembed_query("3 4 0 0")) == pytest.approx([0.6, 0.8])


def test_roles_reach_the_encoder():
    class Roles(NumbersEncoder):
        def encode(self, items, *, modality, role="document"):
            return super().encode(["1 0 0 0" if role == "query" else "0 1 0 0" for _ in items], modality=modality)

    embeddings = UpgradedEmbeddings(Roles(NEW), UPGRADE)
    assert (embeddings.embed_query("x"), embeddings.embed_documents(["x"])) == ([1, 0], [[0, 1]])


def forward():
    weight = UPGRADE.bridge.apply(NumbersEncoder(NEW).encode(["1 0 0 0", "0 1 0 0"], modality="text"))
    return Upgrade(Identity(OLD, OLD), Linear(NEW, OLD, weight.repeat(2, 0)), Provenance("ridge"), "forward")


@pytest.mark.parametrize(
    ("space", "upgrade", "side", "error", "words"),
    [
        (Space("third", "1", 4), UPGRADE, "old", SpaceMismatch, "third"),
        (NEW, UPGRADE, "both", SettingsError, "expected old or new, came 'both'"),
        (OLD, forward(), "old", WrongDirection, "fit a backward method"),
    ],
)
def test_what_does_not_belong_together_is_refused(space, upgrade, side, error, words):
    with pytest.raises(error, match=words):
        UpgradedEmbeddings(NumbersEncoder(space), upgrade, side=side)
