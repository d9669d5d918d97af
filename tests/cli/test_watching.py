"""A status that is looked at again and again ends where the rollout does."""

import json
from dataclasses import replace

import pytest

from embridge.cli._watching import Pace, watch_status
from embridge.jobs.rollout import RolloutStatus
from embridge.rollout.state import RolloutState
from embridge.space import Space

STATE = RolloutState(Space("m", "1", 2), Space("m", "2", 2), "upgrade", "a1", phase="backfilling", canary=1.0)
STATUS = RolloutStatus("memory:", STATE, 1_000, 100, 0, {}, ())


def test_each_look_takes_the_place_of_the_one_before_and_says_how_fast_it_goes(capsys):
    times = iter([0.0, 1.0, 2.0])
    looks = [replace(STATUS, encoded=count) for count in (100, 200, 400)]
    watch_status(looks, pace=Pace(lambda: next(times)))
    shown = capsys.readouterr().out
    assert "400 of 1,000 (40.0%)" in shown
    assert "150 rows a second, 4 s left" in shown


def test_in_a_terminal_the_last_look_stays(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    watch_status([STATUS, replace(STATUS, encoded=200)])
    shown = capsys.readouterr().out
    assert shown.index("100 of 1,000") < shown.index("200 of 1,000")
    assert "\x1b[2K" in shown  # the lines before are taken back


def test_nothing_is_said_of_the_pace_of_what_stands_still():
    pace = Pace(iter(range(9)).__next__)
    assert [pace.told(STATUS) for _ in range(3)] == ["", "", ""]


def test_as_json_each_change_is_a_line(capsys):
    watch_status([STATUS, STATUS, replace(STATUS, encoded=300)])
    assert capsys.readouterr().out.count("of 1,000") == 2
    watch_status([STATUS, STATUS, replace(STATUS, encoded=300)], as_json=True)
    assert [json.loads(line)["encoded"] for line in capsys.readouterr().out.splitlines()] == [100, 300]


def test_an_interruption_is_passed_on(capsys):
    def interrupted():
        yield STATUS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch_status(interrupted())
    assert "100 of 1,000" in capsys.readouterr().out
