"""Notes beside the rows: lists of any length, and documents that somebody changed."""

import json

import pytest

from embridge.errors import StoreError
from embridge.rollout import _notes
from embridge.rollout._open_writes import (
    BACKFILL,
    abandoned_rows,
    backfilling_rows,
    encoded_before,
    encoded_on_read,
    forget_abandoned,
    open_rows,
)
from embridge.rollout.failures import read_failures, record_failures
from embridge.rollout.lease import this_process
from embridge.rollout.stale import forget_stale, note_stale, stale_rows
from embridge.space import Space
from embridge.stores.documents import MemoryDocuments

SPACE = Space("mini", "1", 2)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(_notes, "_PAGE_IDS", 4)


def test_a_list_of_any_length_is_noted_and_forgotten():
    documents, names = MemoryDocuments(), [f"item {number:02d}" for number in range(30)]
    for start in range(0, 30, 3):
        note_stale(documents, names[start : start + 3])
        note_stale(documents, names[start : start + 2])
    assert stale_rows(documents) == names
    assert max(len(json.loads(text)["ids"]) for text in documents._texts.values()) <= 4
    forget_stale(documents, names[:20])
    note_stale(documents, names[1:2])
    assert stale_rows(documents) == [names[1], *names[20:]]
    forget_stale(documents, names)
    assert stale_rows(documents) == []
    reads = documents.read
    documents.read = lambda name: reads(name) if name == "stale" else pytest.fail("an empty page was read")
    assert stale_rows(documents) == []


def test_a_list_that_was_noted_in_one_document_is_read_and_goes_on():
    documents, names = MemoryDocuments(), [f"item {number}" for number in range(9)]
    documents.swap("stale", None, {"ids": names})
    note_stale(documents, ["late"])
    assert stale_rows(documents) == [*names, "late"]


def test_ids_that_are_noted_while_others_are_forgotten_stay():
    documents = MemoryDocuments()
    note_stale(documents, ["a", "b", "c", "d"])
    swap = documents.swap

    def swap_after_another(*values):
        documents.swap = swap
        note_stale(documents, ["e", "f"])
        return swap(*values)

    documents.swap = swap_after_another
    forget_stale(documents, ["a", "b", "c", "d"])
    assert stale_rows(documents) == ["e", "f"]


def test_failures_are_recorded_however_many_there_are():
    documents, names = MemoryDocuments(), [f"item {number}" for number in range(1_011)]
    record_failures(documents, dict.fromkeys(names, "gone"))
    failures = read_failures(documents)
    assert (failures.count, len(failures.reasons), failures.all_ids) == (1_011, 1_000, frozenset(names))
    record_failures(documents, {"a": "gone"})
    assert read_failures(documents).all_ids == {"a"}


def test_rows_of_a_writer_that_may_have_ended_are_abandoned_until_they_are_made_again():
    documents, host = MemoryDocuments(), this_process().rpartition(":")[0]
    before_the_boot = f"{host.rpartition('-')[0]}-000000:7"
    writers = {
        "here": (this_process(), 1_000.0),
        "before the boot": (before_the_boot, 1_000.0),
        "elsewhere": ("elsewhere-1:7", 1_000.0),
        "long silent": ("elsewhere-1:8", 300.0),
        "of a clock far ahead": ("elsewhere-1:9", 9_000.0),
    }
    of = {name: {"holder": holder, "ids": [name], "at_seconds": at} for name, (holder, at) in writers.items()}
    documents.swap("open writes", None, {"encoded": {}, "of": of})
    silent = {"long silent", "of a clock far ahead"}
    assert abandoned_rows(documents, SPACE, now=1_000.0) == {"before the boot", *silent}
    forget_abandoned(documents, now=1_000.0)
    assert set(open_rows(documents)) == writers.keys() - silent


READERS = {
    "backfill": [lambda d: encoded_before(d, SPACE), lambda d: backfilling_rows(d, SPACE)],
    "failures": [read_failures],
    "open writes": [open_rows, lambda d: encoded_on_read(d, SPACE), lambda d: abandoned_rows(d, SPACE, now=0.0)],
    "stale": [stale_rows, lambda d: note_stale(d, ["a"])],
}


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("value", [None, 5, -1.5, "x", [1], {"a": 1}, {SPACE.id: "many"}], ids=str)
def test_a_note_that_was_damaged_is_named(name, value):
    keys = ("ids", "pages", "count", "reasons", "encoded", "of")
    whole = {"old": SPACE.id, "ids": [], "count": 0, "reasons": {}, "encoded": {}, "of": {}}
    errors = []
    for key in keys:
        documents = MemoryDocuments()
        documents.swap(name, None, whole | {key: value})
        for read in READERS[name]:
            try:
                read(documents)
            except StoreError as error:
                errors.append(str(error))
    assert errors
    assert all(f"the document {name!r} of the rollout is damaged: " in error for error in errors)


def test_the_backfill_of_another_space_says_nothing_of_this_one():
    documents = MemoryDocuments()
    documents.swap(BACKFILL, None, {"old": "another", "ids": ["a"], "encoded": {}})
    assert backfilling_rows(documents, SPACE) == []
