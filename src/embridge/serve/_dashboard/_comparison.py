"""One query asked three ways, side by side: the old model, the bridge, and the new model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from embridge.embeddings import Embeddings
from embridge.encoders.base import Modality
from embridge.errors import EmbridgeError
from embridge.evaluation.render.pictures import Picture, small_picture
from embridge.items import ItemSource, read_items
from embridge.rollout._sides import ITEMS
from embridge.serve._dashboard._looks import opened_rollout, rollout_settings
from embridge.serve._models import ServedModel
from embridge.serve.opened import Opened
from embridge.space import Space
from embridge.stores import Store

__all__ = ["Answered", "Comparison", "Item", "compare", "vectors_of"]

Way = Literal["old", "bridge", "new"]
_TITLES: dict[Way, str] = {"old": "Old model", "bridge": "Bridge", "new": "New model"}
_ABOUT: dict[Way, str] = {
    "old": "the old model, old rows",
    "bridge": "the new model through the bridge, old rows",
    "new": "the new model, new rows",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A hit as people look at it.

    Attributes:
        id: Its id.
        score: Its score; those of two ways are not comparable unless both search the same rows.
        payload: Its columns.
        picture: A small picture of it, where it is an image that can be had.
        old_rank: Its place among the old model's hits, from 1 on; None where it is not among them.
    """

    id: str
    score: float
    payload: Mapping[str, Any]
    picture: Picture | None
    old_rank: int | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What one way found.

    Attributes:
        way: ``old``, ``bridge`` or ``new``.
        items: The hits.
        note: Of which rows they are, or why there are none.
    """

    way: Way
    items: tuple[Item, ...]
    note: str

    @property
    def title(self) -> str:
        """A name for people."""
        return _TITLES[self.way]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The three answers to a query."""

    answers: tuple[Answered, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON, pictures aside."""
        return {
            "answers": [
                {
                    "way": one.way,
                    "note": one.note,
                    "hits": [
                        {"id": item.id, "score": item.score, "payload": dict(item.payload), "old_rank": item.old_rank}
                        for item in one.items
                    ],
                }
                for one in self.answers
            ]
        }


@dataclass(frozen=True, slots=True)
class _Found:
    note: str
    hits: tuple[tuple[str, float], ...] = ()


async def vectors_of(models: Mapping[Any, ServedModel], modality: Modality, item: Any) -> dict[str, Embeddings | str]:
    """By side, the query's vector, or why there is none."""
    vectors: dict[str, Embeddings | str] = {}
    for side in ("old", "new"):
        model = models.get(side)
        if model is None:
            vectors[side] = f"The {side} model is not served here; name it in the settings."
            continue
        try:
            vectors[side] = await model.encoded([item], modality, "query")
        except EmbridgeError as error:
            vectors[side] = f"It cannot take this query: {error}."
    return vectors


def compare(opened: Opened, store: Store, vectors: Mapping[str, Embeddings | str], k: int) -> Comparison:
    """Search a store all three ways.

    Args:
        opened: What is served.
        store: The store.
        vectors: As `vectors_of` gives them.
        k: How many hits each way gets.
    """
    upgrade = opened.upgrade
    ways: dict[Way, tuple[Space, Callable[[Embeddings], Embeddings]]] = {
        "old": (upgrade.old_space, lambda rows: rows),
        "bridge": (upgrade.old_space, upgrade.to_index_space),
        "new": (upgrade.head.target, upgrade.head),
    }
    held, found = store.spaces(), {}
    for way, (space, mapped) in ways.items():
        given = vectors["old" if way == "old" else "new"]
        if isinstance(given, str):
            found[way] = _Found(given)
        elif space not in held:
            found[way] = _Found("No row has a new vector yet." if way == "new" else "The old rows were dropped.")
        else:
            hits = store.search(mapped(given), k)
            scored = zip(hits.ids[0], map(float, hits.scores[0]), strict=False)
            found[way] = _Found(f"{_ABOUT[way]} ({store.count(space):,})", tuple(scored))
    return Comparison(_answers(opened, store, found))


def _answers(opened: Opened, store: Store, found: Mapping[Way, _Found]) -> tuple[Answered, ...]:
    names = list(dict.fromkeys(name for one in found.values() for name, _ in one.hits))
    payload, pictures = _payload(opened, store, names), _pictures(opened, store, names)
    old = {name: rank for rank, (name, _) in enumerate(found["old"].hits, 1)}
    return tuple(
        Answered(
            way,
            tuple(
                Item(name, score, payload.get(name, {}), pictures.get(name), old.get(name)) for name, score in one.hits
            ),
            one.note,
        )
        for way, one in found.items()
    )


def _payload(opened: Opened, store: Store, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The columns of some rows; nothing where they went meanwhile."""
    if not names or not store.capabilities.payload:
        return {}
    try:
        columns = store.payload(_space(opened, store), names)
    except EmbridgeError:  # one of them was deleted since
        return {}
    return {name: {column: values[row] for column, values in columns.items()} for row, name in enumerate(names)}


def _pictures(opened: Opened, store: Store, names: Sequence[str]) -> dict[str, Picture]:
    """Pictures of what are images, from a column or a folder; nothing is fetched from another host."""
    try:
        source = _source(opened, store)
        if source.modality != "image" or source.url or not names:
            return {}
        items = read_items(source, store, _space(opened, store), names)
    except EmbridgeError:  # a picture is an extra
        return {}
    pictures = {}
    for name, image in zip(items.ids, items.items, strict=True):
        try:
            pictures[name] = small_picture(image)
        except (OSError, ValueError):  # of a kind that cannot be made smaller
            continue
    return pictures


def _source(opened: Opened, store: Store) -> ItemSource:
    """Where items are: as the rollout wrote it into the store, its settings say, or the store declares."""
    written = store.documents.read(ITEMS)
    return (
        ItemSource.from_dict(written) if written else opened_rollout(opened, store, rollout_settings(opened)).source()
    )


def _space(opened: Opened, store: Store) -> Space:
    """Whose rows carry the columns: the old space as long as it is there."""
    return opened.upgrade.old_space if opened.upgrade.old_space in store.spaces() else opened.upgrade.head.target
