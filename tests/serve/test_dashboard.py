"""What the dashboard shows, and who may move a rollout with it."""

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from dashboards import OPERATORS, begun, operated
from PIL import Image
from served import NEW, Answering, opened, stocked

from embridge import Embeddings
from embridge.errors import StoreError
from embridge.evaluation import Interval, Summary
from embridge.evaluation.figures import Asked, Curve
from embridge.evaluation.verdict import Verdict
from embridge.rollout.failures import record_failures
from embridge.rollout.journal import current_state, entries
from embridge.serve._dashboard._looks import Look, Required
from embridge.serve._dashboard._parts import parts_of
from embridge.serve._dashboard._times import RouteTimes, route_times, searches_by_answer
from embridge.serve._dashboard._words import advice_of, possible_moves
from embridge.serve._metrics import Metrics
from embridge.serve.app import create_app

CLIENT = {"authorization": "Bearer client-key-number-1"}


def asked(made):
    return Answering(create_app(made))


def with_new_rows(store, *names):
    store.upsert(Embeddings.of(np.eye(len(names), 4, 1, dtype=np.float32), NEW, names))
    return store


def test_the_figures_are_those_of_the_rollout(tmp_path):
    store = with_new_rows(begun("backfilling", canary=0.25), "a", "b")
    record_failures(store.documents, {f"<b>{i}": "<script>alert(1)</script>" for i in range(30)})
    ask = asked(operated(store, tmp_path, rollout="gates: [shadow_queries >= 5]\n"))
    ask.post("/search", {"text": "0 1 0 0", "client": "old"})
    data = ask("GET", "/dashboard.json").json()
    status = data["status"]
    assert (data["title"], data["moves"]) == ("Backfilling", ["pause", "canary", "rollback"])
    assert (status["state"]["canary"], status["rows"], status["encoded"]) == (0.25, 3, 2)
    assert status["failures"]["count"] == 30
    assert len(status["failures"]["reasons"]) == 20
    assert [(gate["gate"], gate["passed"]) for gate in data["gates"]] == [("shadow_queries >= 5", False)]
    assert [(one["route"], one["requests"]) for one in data["times"]] == [("/search", 1)]
    assert data["searches"] == {"old": 1}
    parts = data["parts"]
    assert "25 %" in parts["figures"]
    assert "2 of 3 rows" in parts["figures"]
    assert "&lt;script&gt;" in parts["failures"]
    assert "<script" not in "".join(parts.values())
    assert "and 22 more" in parts["failures"]
    assert "begin" in parts["journal"]


def test_a_server_without_keys_renders_the_page_with_its_data(tmp_path):
    page = asked(operated(begun("bridged"), tmp_path))("GET", "/")
    assert "memory:" in page.text
    assert "The new model answers all queries of new clients" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "style=" not in page.text


def test_with_keys_the_page_comes_without_data_and_the_data_with_a_key(tmp_path):
    made = operated(begun("bridged"), tmp_path, keys=["client-key-number-1"])
    ask = asked(made)
    page = ask("GET", "/")
    assert page.status_code == 200
    assert 'data-keys="required"' in page.text
    assert "memory:" not in page.text
    assert "Bridged" not in page.text
    assert ask("GET", "/dashboard.json").status_code == 401
    assert ask.post("/dashboard/search", {"text": "1 0 0 0"}).status_code == 401
    assert ask("GET", "/dashboard.json", headers=CLIENT).json()["title"] == "Bridged"
    answer = ask.post("/rollout/rollback", {}, headers={"embridge-operator-key": OPERATORS[0]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_without_a_rollout_and_without_a_store_it_says_what_to_do(tmp_path):
    data = asked(opened(stocked()))("GET", "/dashboard.json").json()
    assert (data["title"], data["moves"], data["status"]["state"]) == ("Not begun", [], None)
    assert "embridge plan rollout.yaml" in data["parts"]["advice"]
    ask = asked(replace(opened(stocked()), galleries=None))
    data = ask("GET", "/dashboard.json").json()
    assert (data["title"], data["status"]) == ("No store", None)
    assert "new@old" in data["parts"]["models"]
    assert "data-move" not in ask("GET", "/").text
    assert ask.post("/dashboard/search", {"text": "1 0 0 0"}).status_code == 404


def test_a_look_is_shared_until_it_is_too_old_or_the_rollout_moves(tmp_path, monkeypatch):
    store, counts = begun("backfilling"), []
    monkeypatch.setattr(type(store), "count", lambda _, space: counts.append(space) or 1)
    monkeypatch.setattr("embridge.serve._dashboard._looks._FRESH_SECONDS", 600)
    ask = asked(operated(store, tmp_path))
    for _ in range(3):
        ask("GET", "/dashboard.json")
    assert len(counts) == 2
    assert ask.post("/rollout/pause", {}, headers={"embridge-operator-key": OPERATORS[0]}).status_code == 200
    assert ask("GET", "/dashboard.json").json()["title"] == "Backfilling, paused"


def test_a_report_that_cannot_be_read_is_said_and_ends_no_look(tmp_path):
    data = asked(operated(begun("bridged"), tmp_path, rollout="report: nowhere.json\n"))(
        "GET", "/dashboard.json"
    ).json()
    assert data["title"] == "Bridged"
    assert "cannot be checked" in data["parts"]["gates"]
    assert "nowhere.json does not exist" in data["parts"]["gates"]


def test_settings_of_a_rollout_that_broke_stop_the_canary_alone(tmp_path):
    made = operated(begun("backfilling", canary=0.5), tmp_path)
    ask, operator = asked(made), {"embridge-operator-key": OPERATORS[0]}
    made.settings.rollout.write_text("gates: [what >= ever]\n")
    part = ask("GET", "/dashboard.json").json()["parts"]["gates"]
    assert "cannot be checked" in part
    assert "store: Field required" in part
    assert "rollout.yaml" in ask.post("/rollout/canary", {"share": 0.9}, headers=operator).json()["error"]["message"]
    assert ask.post("/rollout/rollback", {}, headers=operator).json()["phase"] == "rolled back"


def test_a_report_has_its_curve_on_the_page():
    asked = Asked("t2i", "text <to> image", 9, 9, "judged pairs", ("old/old", "new/old"))
    curve = Curve("t2i", "random", (0.0, 1.0), (Interval(0.4, 0.3, 0.5), Interval(0.6, 0.5, 0.7)), 0.5)
    nothing = dict.fromkeys(("ratios", "slices", "flips", "histograms", "shifts", "gates", "cautions", "figures"), ())
    verdict, metrics = Verdict("upgrade", "Upgrade."), ("recall_at_1",)
    summary = Summary(verdict, metrics, seed=0, asked=(asked,), curves=(curve,), about={}, **nothing)
    part = parts_of(Look(None, required=Required(True, (), summary)), advice_of(Look(None)), {}, [], {})["curve"]
    assert "<h3>Text &lt;to&gt; image</h3>" in part
    assert "AUC 0.500" in part


def test_a_store_that_does_not_answer_leaves_the_page(tmp_path, monkeypatch):
    store = begun("bridged")
    ask = asked(operated(store, tmp_path))

    def fails(_, name):
        raise StoreError("the store is away")

    monkeypatch.setattr(type(store.documents), "read", fails)
    assert ask("GET", "/").status_code == 200
    answer = ask("GET", "/dashboard.json")
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "the store is away")


def test_an_operator_moves_the_rollout_and_the_journal_says_who(tmp_path):
    store = begun("backfilling")
    ask = asked(operated(store, tmp_path))
    operator = {"embridge-operator-key": OPERATORS[1]}
    assert ask.post("/rollout/pause", {}, headers=operator).json()["paused"] is True
    assert ask.post("/rollout/resume", {}, headers=operator).json()["paused"] is False
    assert ask.post("/rollout/canary", {"share": 0.4}, headers=operator).json()["canary"] == 0.4
    assert ask.post("/rollout/rollback", {}, headers=operator).json()["phase"] == "rolled back"
    made = list(entries(store.documents))[1:]
    assert [one.move for one in made] == ["pause", "resume", "canary", "rollback"]
    assert all(one.by.startswith("operator key 2 at ") for one in made)
    assert not any(OPERATORS[1] in str(one.to_dict()) for one in made)


@pytest.mark.parametrize(
    ("operators", "headers", "path", "status", "code"),
    [
        ([], {}, "/rollout/pause", 403, "no_operators"),
        ([], {"embridge-operator-key": ""}, "/rollout/pause", 403, "no_operators"),
        (OPERATORS, {}, "/rollout/pause", 401, "invalid_operator_key"),
        (OPERATORS, {"embridge-operator-key": ""}, "/rollout/pause", 401, "invalid_operator_key"),
        (OPERATORS, {"embridge-operator-key": "operator-key-number-3"}, "/rollout/pause", 401, "invalid_operator_key"),
        (OPERATORS, {"authorization": f"Bearer {OPERATORS[0]}"}, "/rollout/pause", 401, "invalid_operator_key"),
        (OPERATORS, {}, f"/rollout/pause?embridge-operator-key={OPERATORS[0]}", 401, "invalid_operator_key"),
        (OPERATORS, {"embridge-operator-key": "é" * 20}, "/rollout/canary", 401, "invalid_operator_key"),
    ],
)
def test_nobody_else_moves_it(tmp_path, operators, headers, path, status, code):
    store = begun("backfilling")
    headers = {name: value.encode() for name, value in headers.items()}
    answer = asked(operated(store, tmp_path, operators=operators)).post(path, {}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert current_state(store.documents).version == 1


def test_operators_without_the_settings_of_a_rollout_move_nothing(tmp_path):
    made = operated(begun("backfilling"), tmp_path)
    made = replace(made, settings=made.settings.model_copy(update={"rollout": None}))
    answer = asked(made).post("/rollout/pause", {}, headers={"embridge-operator-key": OPERATORS[0]})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("phase", "path", "body", "status", "words"),
    [
        ("prepared", "/rollout/canary", {"share": 0.5}, 400, "the rollout is prepared"),
        ("bridged", "/rollout/pause", {}, 400, "the rollout is bridged"),
        ("bridged", "/rollout/canary", {"share": 0}, 400, "share"),
        ("bridged", "/rollout/canary", {"share": 1.1}, 400, "share"),
        ("bridged", "/rollout/canary", {}, 400, "share"),
        ("bridged", "/rollout/drop", {}, 400, "move"),
        ("bridged", "/rollout/canary", {"share": 0.9}, 409, "shadow_queries >= 5"),
    ],
)
def test_a_move_that_does_not_fit_is_refused(tmp_path, phase, path, body, status, words):
    store = begun(phase, canary=0.5)
    ask = asked(operated(store, tmp_path, rollout="gates: [shadow_queries >= 5]\n"))
    answer = ask.post(path, body, headers={"embridge-operator-key": OPERATORS[0]})
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert current_state(store.documents).version == 1


def test_gates_do_not_hold_up_a_canary_that_falls(tmp_path):
    ask = asked(operated(begun("bridged", canary=0.5), tmp_path, rollout="gates: [shadow_queries >= 5]\n"))
    answer = ask.post("/rollout/canary", {"share": 0.1}, headers={"embridge-operator-key": OPERATORS[0]})
    assert answer.json()["canary"] == 0.1


def found(ask, query="1 0 0 5"):
    answers = ask.post("/dashboard/search", {"text": query, "k": 2}).json()["answers"]
    return {one["way"]: [(hit["id"], hit["old_rank"]) for hit in one["hits"]] for one in answers}


def test_a_query_is_answered_three_ways_whatever_the_state(tmp_path):
    ask = asked(operated(with_new_rows(begun("prepared"), "a", "b", "c/../d"), tmp_path))
    assert found(ask) == {
        "old": [("a", 1), ("c/../d", 2)],
        "bridge": [("a", 1), ("c/../d", 2)],
        "new": [("c/../d", 2), ("a", 1)],
    }
    data = ask.post("/dashboard/search", {"text": "1 0 0 5", "k": 2}).json()
    assert data["answers"][0]["hits"][0]["payload"] == {"price": 1}
    assert "price: 1" in data["html"]


def test_a_way_that_cannot_answer_says_why(tmp_path):
    made = operated(stocked(), tmp_path)
    ask = asked(made)
    answers = ask.post("/dashboard/search", {"text": "1 0 0 5"}).json()["answers"]
    assert answers[2]["note"] == "No row has a new vector yet."
    assert answers[2]["hits"] == []
    assert ask.post("/dashboard/search", {"text": " "}).status_code == 400
    assert ask.post("/dashboard/search", {"text": "1 0 0 5", "k": 21}).status_code == 400
    picture = BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    assert "takes text, not image" in ask.post("/dashboard/search", {"image": url}).json()["answers"][0]["note"]


def test_hits_are_shown_as_pictures_where_the_items_are_images(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (300, 200), (200, 30, 30)).save(tmp_path / "pictures" / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "d.png")
    (tmp_path / "pictures" / "b.png").write_bytes(b"no picture")
    ask = asked(operated(stocked(), tmp_path, rollout="items: {folder: pictures}\n"))
    html = ask.post("/dashboard/search", {"text": "1 1 0 0", "k": 3}).json()["html"]
    assert html.count("<li>") == 6
    assert html.count("<img") == 2
    assert 'src="data:image/jpeg;base64,' in html


def test_times_come_from_the_metrics():
    metrics = Metrics()
    for status, seconds in ((200, 0.002), (200, 0.002), (404, 0.3), (500, 60.0)):
        metrics.count_request("/search", "POST", status, seconds)
    for route in ("/", "/dashboard.json", "/assets/dashboard.js", "none", "/health"):
        metrics.count_request(route, "GET", 200, 0.1)
    metrics.count_searches("bridge", 3)
    [times] = route_times(metrics.registry())
    assert times == RouteTimes("/search", 4, 2, pytest.approx(0.0025), pytest.approx(30.0))
    assert searches_by_answer(metrics.registry()) == {"bridge": 3}


@pytest.mark.parametrize(
    ("phase", "changes", "moves"),
    [
        ("prepared", {}, ()),
        ("shadow", {}, ("rollback",)),
        ("bridged", {}, ("canary", "rollback")),
        ("backfilling", {"paused": True}, ("resume", "canary", "rollback")),
        ("complete", {}, ("rollback",)),
        ("complete", {"old_dropped": True}, ()),
        ("rolled back", {}, ()),
    ],
)
def test_each_state_has_its_words_and_its_moves(tmp_path, phase, changes, moves):
    store = begun(phase, **changes)
    state = current_state(store.documents)
    assert possible_moves(state) == moves
    title = asked(operated(store, tmp_path))("GET", "/dashboard.json").json()["title"]
    assert title.lower().startswith(phase)
    assert advice_of(Look(None)).title == "No store"
