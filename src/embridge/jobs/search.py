"""One query against a store, with the old model or, through an upgrade, with the new one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, LazyEncoder
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs.models import Models, with_lora
from embridge.settings import ModelSettings
from embridge.space import Space
from embridge.stores import Store, open_store

__all__ = ["Found", "search_store"]


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of one query.

    Attributes:
        query: The text, or the path of the picture.
        ids: Best first.
        scores: One an id, in the space's own metric.
        payload: The columns of the hits.

    Examples:
        >>> Found("a cat", ("7",), (0.5,), {"title": ["Cats"]}).table()
        (['id', 'score', 'title'], [['7', '0.5000', 'Cats']])
    """

    query: str
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    payload: dict[str, list[Any]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        hits = [
            {"id": name, "score": score, "payload": {c: values[i] for c, values in self.payload.items()}}
            for i, (name, score) in enumerate(zip(self.ids, self.scores, strict=True))
        ]
        return {"schema": "embridge.search/1", "query": self.query, "hits": hits}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        rows = [
            [name, f"{score:.4f}", *(str(values[i]) for values in self.payload.values())]
            for i, (name, score) in enumerate(zip(self.ids, self.scores, strict=True))
        ]
        return ["id", "score", *self.payload], rows


def search_store(
    store: Path | str,
    query: str,
    *,
    k: int = 10,
    upgrade: Path | str | None = None,
    encoder: str | ModelSettings | None = None,
    image: bool = False,
) -> Found:
    """Encode a query, map it through an upgrade if there is one, and search.

    Args:
        store: The store's folder.
        query: A text, or the path of a picture.
        k: How many hits.
        upgrade: The folder of an upgrade; the query is then of its new model, with its LoRA where it has one.
        encoder: The query's encoder, if not the one that the upgrade was fitted with: its name, or what a settings file says
            of it, prompts, pooling, metric and all.
        image: Whether the query is a picture.

    Returns:
        The hits.

    Raises:
        InvalidInput: The query is empty, or no text.
        SettingsError: Nothing says which encoder to take.
        SpaceMismatch: The query's vector is not of the space that the upgrade, or the store, expects.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> from embridge.encoders import load
        >>> old = load(f"clip:{glyph_models.folder('old')}")
        >>> names = ["latin small letter a", "digit seven"]
        >>> rows = Embeddings.of(old.encode(names, modality="text"), old.space, names)
        >>> opened = open_store("store", create=True)
        >>> opened.add_space(rows.space)
        >>> opened.upsert(rows)
        >>> search_store("store", "digit seven", k=1, encoder=f"clip:{glyph_models.folder('old')}").ids
        ('digit seven',)
    """
    if not query.strip():
        raise InvalidInput("the query is empty; say what to search for")
    opened = open_store(store)
    bridge = None if upgrade is None else Upgrade.load(upgrade)
    model = encoder or (bridge.provenance.encoders.get("new") if bridge else None)
    if model is None or (isinstance(model, ModelSettings) and model.encoder is None):
        raise SettingsError("which model encodes the query? Name it with --encoder, such as clip:FOLDER")
    expected = opened.spaces() if bridge is None else [bridge.new_space]
    asked = with_lora(_as_named_before(model, expected), None if bridge is None else bridge.lora)
    return _query(opened, asked, query, upgrade=bridge, k=k, image=image)


def _as_named_before(model: str | ModelSettings, expected: Iterable[Space]) -> LazyEncoder:
    """The encoder; under the revision that an earlier release gave the same files, where that is what is expected.

    A folder takes no revision but its own and that one, so no other model passes for it.
    """
    models = Models()

    def named(**revision: str) -> LazyEncoder:
        if isinstance(model, str):
            return models.named(model, **revision)
        return models.encoder(model.model_copy(update=revision))

    encoder = named()
    if not Path(encoder.name.partition(":")[2]).is_dir():
        return encoder
    revisions = {space.revision for space in expected if space.model == encoder.space.model}
    if encoder.space.revision not in revisions:
        for revision in sorted(revisions):
            with suppress(SettingsError):
                before = named(revision=revision)
                if before.space.revision == revision:
                    return before
    return encoder


def _query(store: Store, encoder: Encoder, query: str, *, upgrade: Upgrade | None, k: int, image: bool) -> Found:
    """The same with a store, an encoder and an upgrade at hand."""
    vectors = encoder.encode([query], modality="image" if image else "text", role="query")
    queries = Embeddings.of(vectors, encoder.space, ["query"])
    queries = queries if upgrade is None else upgrade.to_index_space(queries)
    hits = store.search(queries, k)
    scores = tuple(float(s) for s in hits.scores[0][: len(hits.ids[0])])
    return Found(query, hits.ids[0], scores, store.payload(queries.space, hits.ids[0]))
