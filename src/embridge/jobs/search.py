"""Queries against a store, with the old model or, through an upgrade, with the new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.datasets.captions import read_all_captions
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, LazyEncoder
from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.jobs._places import open_index
from embridge.jobs._queries import holds_vectors
from embridge.jobs._rollout_search import gallery_of, gallery_search
from embridge.jobs.models import Models, with_lora
from embridge.nearest import Hits
from embridge.query.arrays import hits_of
from embridge.settings import ModelSettings
from embridge.space import Space
from embridge.stores import Filter, Store
from embridge.vector_files import read_chunks

__all__ = ["Found", "SearchOptions", "search_queries", "search_store"]

_BATCH_ROWS, _ATTEMPTS = 256, 5


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of one query.

    Attributes:
        query: The text, or the path of the picture.
        ids: Best first.
        scores: One an id, in the space's own metric.
        payload: The columns of the hits.
        served: What answered, where a rollout has begun; see `embridge.rollout.state.Serving`.

    Examples:
        >>> Found("a cat", ("7",), (0.5,), {"title": ["Cats"]}).table()
        (['id', 'score', 'title'], [['7', '0.5000', 'Cats']])
    """

    query: str
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    payload: dict[str, list[Any]]
    served: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        hits = [
            {"id": name, "score": score, "payload": {c: values[i] for c, values in self.payload.items()}}
            for i, (name, score) in enumerate(zip(self.ids, self.scores, strict=True))
        ]
        served = {} if self.served is None else {"served": self.served}
        return {"schema": "embridge.search/1", "query": self.query, "hits": hits} | served

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        rows = [
            [name, f"{score:.4f}", *(str(values[i]) for values in self.payload.values())]
            for i, (name, score) in enumerate(zip(self.ids, self.scores, strict=True))
        ]
        return ["id", "score", *self.payload], rows


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a store is searched.

    Attributes:
        k: How many hits a query gets.
        upgrade: The folder of an upgrade; the queries are then of its new model, with its LoRA where it has one.
        encoder: The queries' encoder, if not the one that the upgrade was fitted with, or that the store's declaration names:
            its name, or what a settings file says of it, prompts, pooling, metric and all.
        image: Whether queries are paths of pictures.
        filter: Conditions that hits meet.
        declarations: See `embridge.open_store`.

    Examples:
        >>> SearchOptions(k=3).image
        False
    """

    k: int = 10
    upgrade: Path | str | None = None
    encoder: str | ModelSettings | None = None
    image: bool = False
    filter: Filter = ()
    declarations: Path | str | None = None


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
        store: The store's URL or folder.
        query: A text, or the path of a picture.
        k: How many hits.
        upgrade: See `SearchOptions`, as for the others.
        encoder: The query's encoder.
        image: Whether the query is a picture.

    Returns:
        The hits.

    Raises:
        InvalidInput: The query is empty, or no text.
        SettingsError: Nothing says which encoder to take.
        StoreError: Nobody has declared of which model the store's vectors are.
        SpaceMismatch: The query's vector is not of the space that the upgrade, or the store, expects.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> from embridge.encoders import load
        >>> old = load(f"clip:{glyph_models.folder('old')}")
        >>> names = ["latin small letter a", "digit seven"]
        >>> rows = Embeddings.of(old.encode(names, modality="text"), old.space, names)
        >>> from embridge import open_store
        >>> opened = open_store("store", create=True)
        >>> opened.add_space(rows.space)
        >>> opened.upsert(rows)
        >>> search_store("store", "digit seven", k=1, encoder=f"clip:{glyph_models.folder('old')}").ids
        ('digit seven',)
    """
    if not query.strip():
        raise InvalidInput("the query is empty; say what to search for")
    (found,) = search_queries(store, [query], SearchOptions(k, upgrade, encoder, image))
    return found


def search_queries(
    store: Path | str, queries: Sequence[str] | Path, options: SearchOptions | None = None
) -> Iterator[Found]:
    """Search for many queries, a few hundred at once.

    Where a rollout has begun in the store, and the options name neither an upgrade nor an encoder, it is answered as that
    stands; see `embridge.rollout.gallery.Gallery`.

    Args:
        store: The store's URL or folder.
        queries: Texts, or paths of pictures; or a file of them (text with one a line, csv, tsv, jsonl or Parquet with a column
            ``caption`` or ``text``), of which each distinct one counts; or a file of vectors.
        options: How it is searched.

    Yields:
        The hits of each query, in order.

    Raises:
        InvalidInput: A query is empty, or the file cannot be read.
        MissingSetting: The file of vectors does not say of which model they are, nor does an encoder or an upgrade.
        SettingsError: Nothing says which encoder to take.
        StoreError: Nobody has declared of which model the store's vectors are.
        SpaceMismatch: The queries are not of the space that the upgrade, or the store, expects.

    Examples:
        >>> import numpy as np
        >>> from embridge import Space, open_store, write_vectors
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> opened = open_store("toys", create=True)
        >>> opened.add_space(rows.space)
        >>> opened.upsert(rows)
        >>> file = write_vectors(rows, "queries.npy")
        >>> [found.ids for found in search_queries("toys", file, SearchOptions(k=1))]
        [('a',), ('b',)]
    """
    options = options or SearchOptions()
    bridge = None if options.upgrade is None else Upgrade.load(options.upgrade)
    with closing(open_index(store, options.declarations)) as opened:
        gallery = gallery_of(opened) if options.upgrade is None and options.encoder is None else None
        if gallery is not None:
            found = gallery_search(gallery, queries, k=options.k, image=options.image, filter=options.filter)
            with gallery:  # its shadow ends before the store does
                for names, answer, payload in found:
                    yield from _listed(names, answer.hits, payload, answer.served)
            return
        if isinstance(queries, Path) and holds_vectors(queries):
            space = (
                bridge.new_space
                if bridge
                else None
                if options.encoder is None
                else _encoder(opened, options, None).space
            )
            chunks = read_chunks(queries, rows=_BATCH_ROWS, space=space)
            batches: Iterable[tuple[Sequence[str], Embeddings]] = ((chunk.ids, chunk) for chunk in chunks)
        else:
            texts = read_all_captions(queries).texts if isinstance(queries, Path) else list(queries)
            batches = _encoded(texts, _encoder(opened, options, bridge), image=options.image)
        for names, batch in batches:
            yield from _found(opened, names, batch if bridge is None else bridge.to_index_space(batch), options)


def _encoded(texts: Sequence[str], encoder: Encoder, *, image: bool) -> Iterator[tuple[Sequence[str], Embeddings]]:
    for start in range(0, len(texts), _BATCH_ROWS):
        batch = texts[start : start + _BATCH_ROWS]
        vectors = encoder.encode(batch, modality="image" if image else "text", role="query")
        yield batch, Embeddings.of(vectors, encoder.space)


def _encoder(store: Store, options: SearchOptions, bridge: Upgrade | None) -> Encoder:
    """The model that is named, by the options, the upgrade or the store's declaration."""
    model = options.encoder or (bridge.provenance.encoders.get("new") if bridge else None)
    if model is None and bridge is None:
        declared = [one for one in map(store.declaration, store.spaces()) if one.encoder is not None]
        if len(declared) == 1:
            return Models().named(str(declared[0].encoder), **declared[0].options)
        if declared:
            names = ", ".join(str(one.encoder) for one in declared)
            raise SettingsError(f"the store holds vectors of several models; name one of {names} with --encoder")
    if model is None or (isinstance(model, ModelSettings) and model.encoder is None):
        raise SettingsError("which model encodes the query? Name it with --encoder, such as clip:FOLDER")
    expected = store.spaces() if bridge is None else [bridge.new_space]
    return with_lora(_as_named_before(model, expected), None if bridge is None else bridge.lora)


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


def _found(store: Store, asked: Sequence[str], queries: Embeddings, options: SearchOptions) -> Iterator[Found]:
    """The hits of some queries, whose payload is fetched once; fewer where some are deleted meanwhile."""
    hits = store.search(queries, options.k, filter=options.filter)
    there, payload = _payload(store, queries.space, list(dict.fromkeys(name for found in hits.ids for name in found)))
    yield from _listed(asked, _among(hits, set(there)), payload, None)


def _payload(store: Store, space: Space, ids: list[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """The hits that nobody has deleted since they were found, and their columns."""
    for _ in range(_ATTEMPTS):
        try:
            return ids, store.payload(space, ids) if ids else {}
        except InvalidInput:
            held = set(store.fetch(space, ids).ids)
            ids = [name for name in ids if name in held]
    raise StoreError("hits are being deleted faster than their payload can be read; search when the store is quieter")


def _among(hits: Hits, there: set[str]) -> Hits:
    kept = [
        [(name, score) for name, score in zip(names, scores, strict=False) if name in there]
        for names, scores in zip(hits.ids, hits.scores.tolist(), strict=True)
    ]
    return hits_of([tuple(name for name, _ in one) for one in kept], [[score for _, score in one] for one in kept])


def _listed(asked: Sequence[str], hits: Hits, payload: dict[str, list[Any]], served: str | None) -> Iterator[Found]:
    """The hits of each query, with their columns of the payload of all."""
    place = {name: row for row, name in enumerate(dict.fromkeys(name for found in hits.ids for name in found))}
    for query, names, scores in zip(asked, hits.ids, hits.scores, strict=True):
        columns = {column: [values[place[name]] for name in names] for column, values in payload.items()}
        yield Found(query, names, tuple(float(score) for score in scores[: len(names)]), columns, served)
