"""Searches and writes over HTTP, as the rollout stands."""

import time
from dataclasses import replace

import numpy as np
import pytest
from numbers_encoder import NumbersEncoder
from served import NEW, OLD, asking, stocked

from embridge import Embeddings, Space
from embridge.nearest import Hits
from embridge.rollout.journal import record_move
from embridge.rollout.state import RolloutState
from embridge.serve._galleries import _payload


@pytest.fixture
def store():
    return stocked()


def begin(store, phase, **changes):
    store.add_space(NEW)
    state = RolloutState(OLD, NEW, "upgrade", "a1b2", phase=phase, canary=1.0, **changes)
    assert record_move(store.documents, None, state, entry={"move": "begin", "by": "me", "at_seconds": 0.0, "why": {}})


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_a_text_is_searched_through_the_bridge_before_any_rollout(store):
    answer = asking(store).post("/search", {"text": "0 1 9 9", "k": 2})
    assert ids(answer) == ["b", "c/../d"]
    assert answer.json()["served"] == "bridge"
    assert answer.json()["hits"][0] == {"id": "b", "score": 1.0, "payload": {"price": 2}}


@pytest.mark.parametrize(
    ("phase", "client", "served"),
    [("prepared", "new", "old"), ("bridged", "new", "bridge"), ("bridged", "old", "old"), ("complete", "new", "new")],
)
def test_the_state_says_what_answers(store, phase, client, served):
    begin(store, phase)
    store.upsert(Embeddings.of(np.eye(3, 4, 1, dtype=np.float32), NEW, ["a", "b", "c/../d"]))
    answer = asking(store).post("/search", {"text": "0 1 0 0", "k": 1, "client": client})
    assert answer.json()["served"] == served
    assert ids(answer) == (["a"] if served == "new" else ["b"])


def test_a_move_is_followed_without_a_restart(store, monkeypatch):
    begin(store, "prepared")
    ask = asking(store)
    assert ask.post("/search", {"text": "0 1 9 9"}).json()["served"] == "old"
    before = RolloutState.from_dict(ask("GET", "/state").json())
    after = replace(before, phase="bridged", version=before.version + 1)
    assert record_move(
        store.documents, before, after, entry={"move": "bridge", "by": "me", "at_seconds": 1.0, "why": {}}
    )
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 1)
    assert ask.post("/search", {"text": "0 1 9 9"}).json()["served"] == "bridge"


def test_vectors_items_and_filters(store):
    ask = asking(store)
    assert ids(ask.post("/search", {"vector": [0, 1, 9, 9], "k": 1})) == ["b"]
    assert ids(ask.post("/search", {"vector": [0, 1], "client": "old", "k": 1})) == ["b"]
    assert ids(ask.post("/search", {"id": "a", "k": 2})) == ["c/../d", "b"]
    cheap = [{"column": "price", "operator": "<", "value": 2}]
    assert ids(ask.post("/search", {"text": "0 1 9 9", "filter": cheap})) == ["a"]
    either = [{"column": "price", "operator": "in", "value": [1, 3]}]
    assert ids(ask.post("/search", {"text": "0 1 9 9", "filter": either})) == ["c/../d", "a"]


def test_a_hit_that_is_deleted_before_its_payload_is_read_has_none(store):
    there = store.ids(OLD, limit=2)
    payload = store.payload(OLD, there)
    hits = Hits(((there[0], "gone", there[1]),), np.ones((1, 3), np.float32))
    assert payload
    expected = {name: [values[0], None, values[1]] for name, values in payload.items()}
    assert _payload(store, OLD, None, hits) == expected


def test_items_are_written_and_deleted_with_the_rows_of_the_state(store):
    begin(store, "bridged")
    ask = asking(store)
    items = [{"id": "../x", "text": "3 4 5 6", "payload": {"price": 9}}, {"id": "y", "text": "1 0 0 0"}]
    assert ask.post("/items", {"items": items}).json() == {"written": 2}
    assert store.fetch(OLD, ["../x"]).vectors.tolist() == [[3, 4]]
    assert store.fetch(NEW, ["../x"]).vectors.tolist() == [[3, 4, 5, 6]]
    assert store.payload(OLD, ["../x", "y"]) == {"price": [9, None]}
    assert ask("DELETE", "/items/c%2F..%2Fd").json() == {"deleted": "c/../d"}
    assert store.ids(OLD, limit=9) == ["../x", "a", "b", "y"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"k": 3}, 400, "one of text, image, vector and id"),
        ({"text": "1 0 0 0", "id": "a"}, 400, "one of text, image, vector and id"),
        ({"text": " "}, 400, "the text is empty"),
        ({"text": "1 0 0 0", "k": 0}, 400, "k"),
        ({"text": "1 0 0 0", "k": 1001}, 400, "at most 1,000, came 1,001"),
        ({"vector": [1.0]}, 400, "whose vectors have 4 numbers; came 1"),
        ({"vector": [1e300, 0, 0, 0]}, 400, "inf"),
        ({"id": "nobody"}, 400, "there is no item 'nobody'"),
        ({"text": "1 0 0 0", "filter": [{"column": "price", "value": "cheap"}]}, 400, "price"),
        ({"text": "1 0 0 0", "filter": [{"column": "1; drop", "value": 3}]}, 400, "column name"),
        ({"image": "file:///etc/passwd"}, 400, "data URL"),
    ],
)
def test_what_cannot_be_meant_is_refused(store, body, status, words):
    answer = asking(store).post("/search", body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_the_old_model_is_missed_only_where_it_has_to_answer(store):
    ask = asking(store, encoders={"new": NumbersEncoder(NEW)})
    assert ids(ask.post("/search", {"text": "0 1 9 9", "k": 1})) == ["b"]
    answer = ask.post("/search", {"text": "0 1", "client": "old"})
    assert "the old model answers now, and is not served here" in answer.json()["error"]["message"]


def test_one_user_sees_one_thing(store):
    begin(store, "bridged")
    state = RolloutState.from_dict(asking(store)("GET", "/state").json())
    half = replace(state, canary=0.5, version=2)
    assert record_move(store.documents, state, half, entry={"move": "canary", "by": "me", "at_seconds": 1.0, "why": {}})
    ask = asking(store)
    served = [
        {ask.post("/search", {"text": "0 1 9 9", "user": str(user)}).json()["served"] for _ in range(3)}
        for user in range(12)
    ]
    assert all(len(one) == 1 for one in served)
    assert {"old", "bridge"} == set.union(*served)


@pytest.mark.parametrize(
    ("written", "status", "deleted"),
    [
        ("a%2Fb", 200, "a/b"),
        ("..%2F..", 200, "../.."),
        ("%C3%A9", 200, "\u00e9"),
        ("e%CC%81", 200, "e\u0301"),
        ("a%0D%0Ab", 200, "a\r\nb"),
        ("%FF", 400, None),
        ("", 404, None),
    ],
)
def test_an_item_is_deleted_by_the_id_that_the_address_says(written, status, deleted):
    answer = asking()("DELETE", f"/items/{written}")
    assert (answer.status_code, answer.json().get("deleted")) == (status, deleted)
    assert status == 200 or answer.json()["error"]["type"] == "invalid_request_error"


def test_a_server_whose_upgrade_is_not_the_rollouts_is_not_ready():
    store = stocked()
    other = RolloutState(OLD, Space("other", "1", 4), "upgrade", "a1b2")
    assert record_move(
        store.documents, None, other, entry={"move": "prepare", "by": "me", "at_seconds": 0.0, "why": {}}
    )
    answer = asking(store)("GET", "/ready")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert answer.headers["retry-after"] == "1"


def test_a_server_whose_rows_have_gone_is_not_ready():
    store = stocked()
    ask = asking(store)
    assert ask("GET", "/ready").status_code == ask("HEAD", "/ready").status_code == 200
    store.add_space(Space("other", "1", 4))
    store.drop_space(OLD)
    answer = ask("GET", "/ready")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
    assert "the store holds: other@1" in answer.json()["error"]["message"]


def test_who_brings_no_key_is_not_told_why_a_server_is_not_ready(caplog):
    store = stocked()
    ask = asking(store, keys=["client-key-number-1"])
    store.add_space(Space("other", "1", 4))
    store.drop_space(OLD)
    answer = ask("GET", "/ready")
    assert answer.status_code == 503
    assert "other" not in answer.text
    assert "the store holds: other@1" in caplog.text
