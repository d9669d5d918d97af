"""The contract suites accept what is right and name what is wrong."""
# ruff: noqa: ARG005 - what spoils an answer has one signature

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from embridge.adapters import Adapter, Linear, Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders import CachedEncoder
from embridge.errors import EmbridgeError, InvalidInput, SpaceMismatch
from embridge.methods import Pairs
from embridge.methods.procrustes import Procrustes
from embridge.nearest import Hits
from embridge.progress import silent
from embridge.space import Space
from embridge.stores import MemoryStore
from embridge.stores.base import Capabilities
from embridge.testing import check_adapter, check_encoder, check_method, check_store
from embridge.testing._expect import expect_close, expect_equal, expect_refusal

NEW, OLD = Space("new", "1", 6), Space("old", "1", 4)
WEIGHT = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


class Faulty(Adapter):
    """A linear map whose output is spoilt."""

    kind = "linear"
    source, target = NEW, OLD
    calls = itertools.count()

    def __init__(self, spoil):
        self.spoil = spoil

    def apply(self, x):
        return self.spoil(x, x @ WEIGHT)

    def weights(self):
        return {"weight": WEIGHT}

    def config(self):
        return {"normalize_input": False, "bias": False}

    @classmethod
    def from_parts(cls, source, target, config, weights):
        return Linear.from_parts(source, target, config, weights)


def overwriting(x, y):
    x.setflags(write=True)
    x[0] = 0
    return y


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: y[:, :3], r"shape of the output: expected \(7, 4\), came \(7, 3\)"),
        (lambda x, y: y.astype(np.float64), "dtype of the output: expected dtype.'float32'."),
        (
            lambda x, y: np.where(y == 0, np.nan, y).astype(np.float32),
            "expected finite numbers, also for a row of zero",
        ),
        (overwriting, "expected the input to stay as it was"),
        (lambda x, y: y + np.float32(next(Faulty.calls)), "expected the same bytes twice"),
        (lambda x, y: y if len(x) else np.empty((0, 6), np.float32), r"output for no rows: expected \(\(0, 4\)"),
        (
            lambda x, y: y - y.mean(axis=0) if len(y) else y,
            "two parts against the whole: expected equal values to 1e-05",
        ),
        (lambda x, y: y + np.float32(len(x) == 1), "single rows against the batch"),
        (lambda x, y: y, "class made from its parts: expected .*Faulty"),
    ],
)
def test_faulty_adapters_are_found(spoil, message):
    with pytest.raises(AssertionError, match=message):
        check_adapter(Faulty(spoil))


class FaultyStore(MemoryStore):
    """The reference, to be spoilt."""


class AddsTwice(FaultyStore):
    def add_space(self, space):
        self._vectors[space] = {}


class TakesAnySpace(FaultyStore):
    def upsert(self, rows, payload=None):
        self.add_space(rows.space)
        super().upsert(rows, payload)


class KeepsTheFirst(FaultyStore):
    def upsert(self, rows, payload=None):
        super().upsert(rows, payload)
        held = self.__dict__.setdefault("first", {})
        for name in rows.ids:
            self._vectors[rows.space][name] = held.setdefault((rows.space, name), self._vectors[rows.space][name])


class ForgetsPayload(FaultyStore):
    def payload(self, space, ids):
        return {name: values[::-1] for name, values in super().payload(space, ids).items()}


class ListsFromTheStart(FaultyStore):
    def ids(self, space, *, after=None, limit):
        return super().ids(space, limit=limit)


class ScansTwice(FaultyStore):
    def raw(self, place, *, rows=1_000):
        for part in super().raw(place, rows=rows):
            yield part
            yield part


class ScansOtherPayload(FaultyStore):
    def scan_with_payload(self, space, columns, *, rows=1_000):
        for part, payload in super().scan_with_payload(space, columns, rows=rows):
            yield part, {name: values[::-1] for name, values in payload.items()}


class FetchesInItsOwnOrder(FaultyStore):
    def fetch(self, space, ids):
        return super().fetch(space, sorted(ids))


class ForgetsWhatIsMissing(FaultyStore):
    def missing(self, space, of, *, after=None, limit):
        return super().missing(space, of, limit=limit)


class DeletesInOneSpace(FaultyStore):
    def delete(self, ids):
        for name in ids:
            self._vectors[self.spaces()[0]].pop(name, None)


class SwapsWhateverIsThere(FaultyStore):
    def swap_state(self, expected, new):
        return super().swap_state(self.read_state(), new)


class RoundsVectors(FaultyStore):
    def upsert(self, rows, payload=None):
        super().upsert(rows.with_vectors(rows.vectors.astype(np.float16).astype(np.float32), rows.space), payload)


class AlwaysCosine(FaultyStore):
    def search(self, queries, k, *, filter=()):
        scale = np.linalg.norm(queries.vectors, axis=1, keepdims=True) + (queries.vectors == 0).all(
            axis=1, keepdims=True
        )
        return super().search(queries.with_vectors(queries.vectors / scale, queries.space), k, filter=filter)


class LosesTheBest(FaultyStore):
    def search(self, queries, k, *, filter=()):
        hits = super().search(queries, k + (k > 0), filter=filter)
        return Hits(tuple(ids[1:] for ids in hits.ids), np.ascontiguousarray(hits.scores[:, 1:]))


class IgnoresFilters(FaultyStore):
    def search(self, queries, k, *, filter=()):
        return super().search(queries, k)


class SaysItPersists(FaultyStore):
    capabilities = Capabilities(exact=True, filter=True, persistent=True, shared_rows=True)


class CannotFilter(IgnoresFilters):
    capabilities = Capabilities(exact=True, filter=False, persistent=False, shared_rows=True)


class Approximate(LosesTheBest):
    capabilities = Capabilities(exact=False, filter=False, persistent=False, shared_rows=True)


class ScoresOfAnIndex(FaultyStore):
    """What LanceDB gives through a quantised index: twice the cosine, less one."""

    capabilities = Capabilities(exact=False, filter=True, persistent=False, shared_rows=True)

    def search(self, queries, k, *, filter=()):
        hits = super().search(queries, k, filter=filter)
        return Hits(hits.ids, 2 * hits.scores - 1)


class SaysSo(ScoresOfAnIndex):
    capabilities = Capabilities(exact=False, filter=False, persistent=False, exact_scores=False, shared_rows=True)


class TiesAsWritten(FaultyStore):
    def _findable(self, space, filter):
        found = super()._findable(space, filter)
        return found and found.take(np.argsort([list(self._vectors[space]).index(name) for name in found.ids]))


class FindsZeros(FaultyStore):
    def search(self, queries, k, *, filter=()):
        hits = super().search(queries, k, filter=filter)
        return Hits(tuple(ids or ("nobody",) for ids in hits.ids), hits.scores)


class KeepsWhatComes(FaultyStore):
    def upsert(self, rows, payload=None):
        super().upsert(rows, {name: list(map(str, values)) for name, values in (payload or {}).items()})


class RefusesBlanks(FaultyStore):
    def upsert(self, rows, payload=None):
        if any(all(value is None for value in values) for values in (payload or {}).values()):
            raise InvalidInput("what type is this?")
        super().upsert(rows, payload)


class MatchesBlanks(FaultyStore):
    """As Python has it: None differs from everything."""

    def search(self, queries, k, *, filter=()):
        found = [super().search(queries, k, filter=filter)]
        if len(filter) == 1 and filter[0].operator == "!=":
            found += [super().search(queries, k)]
        return found[-1]


@pytest.mark.slow
@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("store", "message"),
    [
        (AddsTwice, "count after adding the space again: expected 40, came 0"),
        (TakesAnySpace, "upsert with another space of the same dim: expected SpaceMismatch, came None"),
        (KeepsTheFirst, "vectors of a scan"),
        (RoundsVectors, "vectors of a scan"),
        (ForgetsPayload, "payload of replaced rows"),
        (ListsFromTheStart, "pages of ids|ids after"),
        (ScansTwice, "a scan gave .* twice"),
        (ScansOtherPayload, "a scan with payload of .*expected"),
        (FetchesInItsOwnOrder, "ids of a fetch"),
        (ForgetsWhatIsMissing, "missing after an id"),
        (DeletesInOneSpace, "counts after deleting three rows"),
        (SwapsWhateverIsThere, "swap_state from nothing, though there is a state"),
        (AlwaysCosine, "search by dot"),
        (LosesTheBest, "search by cosine"),
        (IgnoresFilters, "search with .*Condition"),
        (SaysItPersists, "the state read by another client"),
        (ScoresOfAnIndex, "search by cosine: scores of the hits"),
        (TiesAsWritten, "search by cosine: rows of one score"),
        (FindsZeros, r"search by cosine for zeros|search of no rows"),
        (KeepsWhatComes, "payload of replaced rows"),
        (RefusesBlanks, "what type is this"),
        (MatchesBlanks, "search with .*operator='!='"),
        (Approximate, "expected nine tenths of 40 exact hits, came 32"),
    ],
)
def test_faulty_stores_are_found(store, message):
    with pytest.raises((AssertionError, InvalidInput), match=message):
        check_store(lambda spaces, location: store(*spaces))


@pytest.mark.usefixtures("as_in_production")
def test_what_a_store_cannot_do_is_skipped_and_said():
    assert check_store(lambda spaces, location: CannotFilter(*spaces)) == [
        "filters: capabilities.filter is False",
        "reopening: capabilities.persistent is False",
    ]
    assert check_store(lambda spaces, location: SaysSo(*spaces)) == [
        "scores: capabilities.exact_scores is False",
        "filters: capabilities.filter is False",
        "reopening: capabilities.persistent is False",
    ]


TEXTS = [f"text {i}" for i in range(5)]


def cached():
    return CachedEncoder(text=Embeddings.of(normal(5, 6), NEW, TEXTS))


class FaultyEncoder:
    """Cached vectors, spoilt."""

    space, modalities = NEW, frozenset({"text"})

    def __init__(self, spoil, *, strict=True):
        self.spoil, self.strict = spoil, strict

    def encode(self, items, *, modality, role="document"):
        if modality == "image" and not self.strict:
            return normal(len(items), 6)
        return self.spoil(cached().encode(items, modality=modality, role=role))


def test_a_cached_encoder_fulfils_the_contract():
    assert check_encoder(cached(), TEXTS) == []
    both = CachedEncoder(text=Embeddings.of(normal(5, 6), NEW, TEXTS), image=Embeddings.of(normal(4, 6, 1), NEW))
    assert check_encoder(both, TEXTS, ["0", "1", "2"]) == ["refusal of a modality: this encoder takes all of them"]


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (FaultyEncoder(lambda v: v[:, :5]), r"shape of the vectors: expected \(5, 6\), came \(5, 5\)"),
        (FaultyEncoder(lambda v: v.astype(np.float64)), "dtype of the vectors"),
        (FaultyEncoder(lambda v: v * np.float32(np.nan)), "expected finite vectors"),
        (FaultyEncoder(lambda v: v + np.float32(next(Faulty.calls))), "expected the same bytes twice"),
        (FaultyEncoder(lambda v: 0 * v), "expected different rows for different items"),
        (FaultyEncoder(lambda v: v - v.mean(axis=0)), "one item alone"),
        (FaultyEncoder(lambda v: v[np.argsort(v[:, 0])] if len(v) > 1 else v), "one item alone|the items in reverse"),
        (FaultyEncoder(lambda v: v, strict=False), "image items: expected InvalidInput, came"),
    ],
)
def test_faulty_encoders_are_found(encoder, message):
    with pytest.raises(AssertionError, match=message):
        check_encoder(encoder, TEXTS)


def test_an_encoder_is_checked_with_enough_items():
    with pytest.raises(AssertionError, match="expected at least 3 text items to check with, came 2"):
        check_encoder(cached(), TEXTS[:2])


PAIRS = Pairs(Embeddings.of(normal(40, 6), NEW), Embeddings.of(normal(40, 4, 1), OLD))


@dataclass(frozen=True)
class FaultyMethod:
    """Procrustes, spoilt."""

    spoil: object
    paper = "none"

    def fit(self, pairs, *, seed=0, progress=silent):
        return self.spoil(pairs, seed, progress)


def with_bridge(upgrade, weight, direction="backward"):
    bridge = Linear(upgrade.new_space, upgrade.old_space, weight)
    return Upgrade(upgrade.head, bridge, upgrade.provenance, direction)


def without_seed(pairs, seed, progress):
    upgrade = Procrustes().fit(pairs, seed=seed)
    return with_bridge(upgrade, upgrade.bridge.weight + np.float32(next(Faulty.calls)))


def at_random(pairs, seed, progress):
    upgrade = Procrustes().fit(pairs, seed=seed)
    rng = np.random.default_rng(seed)
    return with_bridge(upgrade, rng.normal(size=upgrade.bridge.weight.shape).astype(np.float32))


def silently(pairs, seed, progress):
    if len(pairs) < 8:
        enough = Pairs(*(Embeddings.of(normal(8, s.dim), s) for s in (pairs.new.space, pairs.old.space)))
        return Procrustes().fit(enough, seed=seed)
    return Procrustes().fit(pairs, seed=seed)


def backwards_in_progress(pairs, seed, progress):
    progress(2, 2, "fit")
    progress(1, 2, "fit")
    return Procrustes().fit(pairs, seed=seed)


@pytest.mark.slow
@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda pairs, seed, progress: None, "expected an Upgrade, came NoneType"),
        (
            lambda pairs, seed, progress: Procrustes().fit(Pairs(pairs.old, pairs.new), seed=seed),
            "new space of the upg",
        ),
        (lambda pairs, seed, progress: Procrustes().fit(pairs), "seed in the provenance: expected 3, came 0"),
        (without_seed, "expected the same bytes from the same pairs and seed"),
        (at_random, r"expected a planted rotation to be found \(chance 0.01\)"),
        (silently, "expected a warning from 7 pairs, since d_old is 4; came none"),
        (backwards_in_progress, "expected progress that rises to its total"),
    ],
)
def test_faulty_methods_are_found(spoil, message):
    with pytest.raises(AssertionError, match=message):
        check_method(FaultyMethod(spoil), PAIRS)


def test_a_method_is_checked_with_enough_pairs():
    assert check_method(Procrustes(), PAIRS) == []
    with pytest.raises(AssertionError, match="expected at least 8 pairs to check with, came 7"):
        check_method(Procrustes(), PAIRS.take(np.arange(7)))


def test_expectations_say_what_came():
    with pytest.raises(AssertionError, match="dims: expected 3, came 4"):
        expect_equal(3, 4, "dims")
    with pytest.raises(AssertionError, match=r"rows, shape: expected \(2,\), came \(3,\)"):
        expect_close(np.zeros(2), np.zeros(3), "rows")
    with pytest.raises(AssertionError, match=r"rows: expected equal values to 1e-05, came 0\.5 apart"):
        expect_close(np.array([0.0, 2.0]), np.array([0.0, 3.0]), "rows")
    with pytest.raises(AssertionError, match="rows: expected equal values"):
        expect_close(np.zeros(1), np.array([np.nan]), "rows")


def test_a_refusal_is_of_the_right_kind_and_says_something():
    def refuse(error):
        raise error

    expect_refusal(EmbridgeError, lambda: refuse(SpaceMismatch("why")), "it")
    with pytest.raises(AssertionError, match="it: expected InvalidInput, came SpaceMismatch: why"):
        expect_refusal(InvalidInput, lambda: refuse(SpaceMismatch("why")), "it")
    with pytest.raises(AssertionError, match="expected InvalidInput with a message, came an empty one"):
        expect_refusal(InvalidInput, lambda: refuse(InvalidInput()), "it")
    with pytest.raises(AssertionError, match="it: expected InvalidInput, came 7"):
        expect_refusal(InvalidInput, lambda: 7, "it")
