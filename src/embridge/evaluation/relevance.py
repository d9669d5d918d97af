"""Relevance: which gallery items are right for which query, and who says so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isfinite, isnan

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation._parted import searchable
from embridge.evaluation.judged import Judged, JudgedByLabel, JudgedByPair
from embridge.evaluation.missing import Missing
from embridge.evaluation.one_set import settle_own, without_rows
from embridge.nearest._parts import ranked
from embridge.shapes import Bool
from embridge.space import require_same

__all__ = ["AnyRelevance", "LabelRelevance", "Relevance"]

_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_SHOWN = 3


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """How relevant which items are to each query. Make it with one of the ``from_`` functions.

    Attributes:
        gains: ``gains[query id][gallery id]``, above 0.
        source: Who says so, as reports show it.
        weights: How much each query counts; once, where it is not listed.

    Raises:
        InvalidInput: A gain or weight is not above 0 and finite in float32.

    Examples:
        >>> relevance = Relevance.from_pairs([("a caption", "photo 1"), ("another", "photo 1")])
        >>> sorted(relevance.inverted().gains["photo 1"])
        ['a caption', 'another']
    """

    gains: Mapping[str, Mapping[str, float]]
    source: str = "judged pairs"
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, numbers in (*self.gains.items(), ("weights", self.weights)):
            if not _usable(numbers.values()):
                shown = dict(islice(numbers.items(), _SHOWN))
                raise InvalidInput(f"relevance, {what!r}: expected numbers above 0, of float32's range, came {shown}")

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, str]]) -> Relevance:
        """Judge by pairs of what belongs together.

        Args:
            pairs: (query id, gallery id).

        Returns:
            The judgements, each with a gain of 1.

        Raises:
            InvalidInput: There is no pair.

        Examples:
            >>> Relevance.from_pairs([("a caption", "photo 1")]).gains
            {'a caption': {'photo 1': 1.0}}
        """
        return cls.from_grades(((query, item, 1.0) for query, item in pairs), source="judged pairs")

    @classmethod
    def from_grades(cls, grades: Iterable[tuple[str, str, float]], *, source: str = "qrels") -> Relevance:
        """Judge by grades, as TREC and BEIR qrels hold them.

        Args:
            grades: (query id, gallery id, grade); grades of 0 and less are not relevant. Two of one pair must agree.
            source: Who says so.

        Returns:
            The judgements.

        Raises:
            InvalidInput: Two grades of one pair differ, one is not finite, or nothing relevant is left.

        Examples:
            >>> Relevance.from_grades([("q1", "d1", 2), ("q1", "d2", 0)]).gains
            {'q1': {'d1': 2.0}}
        """
        found: dict[str, dict[str, float]] = {}
        for query, item, given in grades:
            grade = _number(query, item, given)
            before = found.setdefault(query, {}).setdefault(item, grade)
            if before != grade:
                raise InvalidInput(
                    f"relevance: query {query!r}, item {item!r} was graded both {before:g} and {grade:g}"
                )
        return cls(_relevant(found), source)

    @classmethod
    def from_log(cls, clicks: Iterable[tuple[str, str, float]]) -> Relevance:
        """Judge by the clicks of a log: gains are summed clicks, and a query weighs all of its own.

        Clicks favour what the old system showed, so a better one is rated too low: read it as a lower bound.

        Args:
            clicks: (query, clicked item, times).

        Returns:
            The judgements, with weights.

        Raises:
            InvalidInput: A number is not finite, or nothing was clicked.

        Examples:
            >>> log = Relevance.from_log([("shoe", "a", 3), ("shoe", "b", 1), ("hat", "c", 1)])
            >>> log.weights
            {'shoe': 4.0, 'hat': 1.0}
        """
        found: dict[str, dict[str, float]] = {}
        for query, item, times in clicks:
            of_query = found.setdefault(query, {})
            of_query[item] = of_query.get(item, 0.0) + _number(query, item, times)
        gains = _relevant(found)
        return cls(gains, "click log", {query: sum(items.values()) for query, items in gains.items()})

    @classmethod
    def from_neighbours(cls, queries: Embeddings, gallery: Embeddings, k: int) -> Relevance:
        """Judge by a model's own nearest items. No human says that they are right, and the source says that none does.

        It measures how well another system imitates this model. Where queries and gallery are one set, no item is its own
        neighbour.

        Args:
            queries: The model's queries [q].
            gallery: Its gallery [n].
            k: How many items are right for each query.

        Returns:
            The judgements.

        Raises:
            SpaceMismatch: Queries and gallery are of two spaces.

        Examples:
            >>> from embridge import Space
            >>> rows = Embeddings.of(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), Space("toy", "1", 2), ["a", "b", "c"])
            >>> Relevance.from_neighbours(rows, rows, 1).gains["a"]
            {'b': 1.0}
        """
        require_same(gallery.space, queries.space, what="the queries")
        own, _ = settle_own([(queries, gallery)], "decide", np.zeros(len(queries), bool))
        ranking = ranked(queries.vectors, searchable(gallery), k + (own is not None), metric=gallery.space.metric)
        rows = (ranking if own is None else without_rows(ranking, own)).rows
        gains = {q: {gallery.ids[row]: 1.0 for row in near} for q, near in zip(queries.ids, rows.tolist(), strict=True)}
        return cls(_relevant(gains), f"the {rows.shape[1]} nearest items by {gallery.space.model}, not people")

    @property
    def names_itself(self) -> bool:
        """Whether, for most queries, the item of the same id is right: then equal ids are two things, a text and its twin."""
        return 2 * sum(query in items for query, items in self.gains.items()) > len(self.gains)

    def naming_themselves(self, query_ids: Sequence[str]) -> Bool[np.ndarray, " q"]:
        """Whether the item of the query's own id is right for it, query by query."""
        return np.array([query in self.gains.get(query, {}) for query in query_ids], bool)

    def missing(self, query_ids: Sequence[str], gallery_ids: Sequence[str]) -> list[Missing]:
        """What is judged and was not seen: queries, and right items of those queries that were."""
        asked, there = set(query_ids), set(gallery_ids)
        queries = [query for query in self.gains if query not in asked]
        right = [item for query in query_ids for item in self.gains.get(query, ())]
        items = [item for item in right if item not in there]
        found = (
            Missing("judged queries have no vector and were not asked", queries, len(self.gains)),
            Missing("items judged right are not in the gallery and count as not found", items, len(right)),
        )
        return [missing for missing in found if missing.names]

    def inverted(self) -> Relevance:
        """The same judgements with queries and gallery exchanged."""
        found: dict[str, dict[str, float]] = {}
        for query, items in self.gains.items():
            for item, gain in items.items():
                found.setdefault(item, {})[query] = gain
        weights = {query: sum(items.values()) for query, items in found.items()} if self.weights else {}
        return replace(self, gains=found, weights=weights)

    def judge(self, query_ids: Sequence[str], gallery_ids: Sequence[str], *, one_set: bool = False) -> Judged:
        """The judgements as arrays over these queries and this gallery; in one set no item is right for itself.

        What is right and not in the gallery counts as not found.
        """
        row_of = {name: row for row, name in enumerate(gallery_ids)}
        keys, gains, absent, absent_gains = [], [], [], []
        for i, query in enumerate(query_ids):
            for item, gain in self.gains.get(query, {}).items():
                if one_set and item == query:
                    continue
                row = row_of.get(item)
                if row is None:
                    absent.append(i)
                    absent_gains.append(gain)
                else:
                    keys.append(i * len(gallery_ids) + row)
                    gains.append(gain)
        weights = np.array([self.weights.get(query, 1.0) for query in query_ids]) if self.weights else None
        shape, missing = (len(query_ids), len(gallery_ids)), (np.array(absent, np.int64), np.array(absent_gains))
        return JudgedByPair.of(np.array(keys, np.int64), np.array(gains), shape, weights, missing)


@dataclass(frozen=True, slots=True, eq=False)
class LabelRelevance:
    """Items of the query's own label are relevant: class, product, person, place.

    An item whose id is not listed has no label, and nothing is relevant to it.

    Attributes:
        queries: Query id → label.
        gallery: Gallery id → label.
        source: Who says so, as reports show it.

    Examples:
        >>> relevance = LabelRelevance({"q": "cat"}, {"a": "cat", "b": "dog"})
        >>> relevance.judge(["q"], ["b", "a"]).gains(np.array([[0, 1]])).tolist()
        [[0.0, 1.0]]
    """

    queries: Mapping[str, str]
    gallery: Mapping[str, str]
    source: str = "labels"

    @property
    def names_itself(self) -> bool:
        """Never: that an item has its own label says nothing."""
        return False

    def naming_themselves(self, query_ids: Sequence[str]) -> Bool[np.ndarray, " q"]:
        """Never."""
        return np.zeros(len(query_ids), bool)

    def missing(self, query_ids: Sequence[str], gallery_ids: Sequence[str]) -> list[Missing]:
        """What has a label and was not seen; it counts for nothing, since nobody says on which side it would be."""
        labelled, seen = dict.fromkeys([*self.queries, *self.gallery]), {*query_ids, *gallery_ids}
        names = [name for name in labelled if name not in seen]
        return [Missing("labelled items have no vector and count for nothing", names, len(labelled))] if names else []

    def inverted(self) -> LabelRelevance:
        """The same judgements with queries and gallery exchanged."""
        return replace(self, queries=self.gallery, gallery=self.queries)

    def judge(self, query_ids: Sequence[str], gallery_ids: Sequence[str], *, one_set: bool = False) -> Judged:
        """The judgements as arrays over these queries and this gallery; in one set no item is right for itself."""
        code_of: dict[str, int] = {}
        codes = [
            np.array([code_of.setdefault(labels[i], len(code_of)) if i in labels else missing for i in ids], np.int64)
            for ids, labels, missing in ((query_ids, self.queries, -1), (gallery_ids, self.gallery, -2))
        ]
        row_of = {name: row for row, name in enumerate(gallery_ids)} if one_set else {}
        own = np.array([row_of.get(query, -1) for query in query_ids], np.int64)
        return JudgedByLabel.of(codes[0], codes[1], own)


AnyRelevance = Relevance | LabelRelevance
"""What `evaluate` judges by."""


def _relevant(found: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Only what is above 0; raises `InvalidInput` where nothing is left."""
    kept = {query: {item: gain for item, gain in items.items() if gain > 0} for query, items in found.items()}
    kept = {query: items for query, items in kept.items() if items}
    if not kept:
        raise InvalidInput("relevance: nothing relevant came; nothing could be judged")
    return kept


def _usable(numbers: Collection[float]) -> bool:
    """Whether all are above 0, and stay so in float32, which gains are kept in."""
    return not numbers or (_SMALLEST <= min(numbers) <= max(numbers) <= _LARGEST and not any(map(isnan, numbers)))


def _number(query: str, item: str, gain: float) -> float:
    if not isfinite(gain):
        raise InvalidInput(f"relevance: query {query!r}, item {item!r}: expected a finite number, came {gain}")
    return float(gain)
