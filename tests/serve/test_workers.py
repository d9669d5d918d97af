"""Several workers of one server: what one does, the others see."""

import time

from dashboards import OPERATORS, begun, operated
from served import Answering

from embridge.serve.app import create_app


def test_a_move_through_one_worker_shows_in_the_page_of_another(tmp_path):
    store = begun("backfilling")
    one, other = (Answering(create_app(operated(store, tmp_path))) for _ in range(2))
    assert not other("GET", "/dashboard.json").json()["status"]["state"]["paused"]
    moved = one("POST", "/rollout/pause", headers={"embridge-operator-key": OPERATORS[0]})
    assert moved.json()["paused"]
    until = time.monotonic() + 30
    while not other("GET", "/dashboard.json").json()["status"]["state"]["paused"]:
        assert time.monotonic() < until
        time.sleep(0.02)
