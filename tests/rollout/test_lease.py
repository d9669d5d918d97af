import subprocess
import sys
from threading import Event, active_count

import pytest

from embridge.errors import StoreError
from embridge.rollout.lease import Lease, current_holder, may_be_gone, this_process
from embridge.stores.documents import FileDocuments, MemoryDocuments


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["memory", "file"])
def documents(request, tmp_path):
    return MemoryDocuments() if request.param == "memory" else FileDocuments(tmp_path / "documents.json")


def test_one_holds_it_until_it_lets_go(documents):
    clock = Clock()
    with Lease(documents, "a", 60, clock) as lease:
        with (
            pytest.raises(StoreError, match="a runs this rollout, and holds it for 60 more seconds"),
            Lease(documents, "b", 60, clock),
        ):
            raise AssertionError("two hold it")
        assert lease.renew()
    with Lease(documents, "b", 60, clock):
        pass


def test_whoever_is_silent_loses_it_and_finds_out(documents):
    clock = Clock()
    with Lease(documents, "a", 60, clock) as silent:
        clock.now += 61
        with Lease(documents, "b", 60, clock) as lease:
            assert not silent.renew()
            assert lease.renew()
            clock.now += 30
            assert lease.renew()
            clock.now += 45  # it would have ended without the renewal
            with pytest.raises(StoreError, match="b runs this rollout"), Lease(documents, "c", 60, clock):
                raise AssertionError("two hold it")
    with Lease(documents, "c", 60, clock):
        pass


def test_a_renewal_is_written_after_a_third_of_the_time(documents):
    clock = Clock()
    with Lease(documents, "a", 60, clock) as lease:
        before = documents.read("lease")
        clock.now += 10
        assert lease.renew()
        assert documents.read("lease") == before
        clock.now += 15
        assert lease.renew()
        assert documents.read("lease")["until_seconds"] == clock.now + 60


def test_a_clock_that_went_back_keeps_nobody_out_for_ever(documents):
    clock = Clock()
    with Lease(documents, "a", 60, clock) as lease:
        clock.now -= 500
        assert lease.renew()
        assert documents.read("lease")["until_seconds"] == 560


def test_a_process_of_this_machine_that_has_ended_holds_it_no_longer(documents):
    clock = Clock()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = this_process().rpartition(":")[0]
    namesake = f"{host[:-1]}{'0' if host[-1] != '0' else '1'}"  # another machine, or a container, of that name
    for holder, free in (
        (f"{host}:{ended.pid}", True),
        (f"{namesake}:{ended.pid}", False),
        (f"elsewhere:{ended.pid}", False),
        (this_process(), False),
    ):
        assert documents.swap("lease", documents.read("lease"), {"holder": holder, "until_seconds": 1_060.0})
        assert may_be_gone(holder) == (free or holder.startswith(namesake))
        if free:
            with Lease(documents, "a", 60, clock):
                pass
        else:
            with pytest.raises(StoreError, match=f"{holder} runs this rollout"), Lease(documents, "a", 60, clock):
                raise AssertionError("two hold it")


class Watched:
    """Documents that say when the lease was renewed a few times; each swap may fail once, as on a lost connection."""

    def __init__(self, times):
        self.inner, self.left, self.renewed, self.is_lost = MemoryDocuments(), times, Event(), False

    def read(self, name):
        return self.inner.read(name)

    def swap(self, name, expected, new):
        if self.is_lost:
            self.is_lost = False
            raise StoreError("the connection was lost")
        done = self.inner.swap(name, expected, new)
        self.left -= bool(expected and expected["holder"] and new["holder"])
        if self.left <= 0:
            self.renewed.set()
        return done


def test_a_batch_that_takes_longer_than_the_lease_does_not_lose_it():
    documents, clock, before = Watched(2), Clock(), active_count()
    with Lease(documents, "a", 0.03, clock) as lease:
        until = documents.read("lease")["until_seconds"]
        documents.is_lost = True
        clock.now += 0.02
        for _ in range(1_000):  # the controller is in its batch
            if documents.renewed.wait(0.01):
                break
            clock.now += 0.02
        assert documents.read("lease")["until_seconds"] > until
        assert lease.renew()
    assert active_count() == before
    assert documents.read("lease")["holder"] == ""


def test_a_thread_that_keeps_a_lease_does_not_take_it_back():
    documents, clock = MemoryDocuments(), Clock()
    with Lease(documents, "a", 0.03, clock) as silent:
        other = {"holder": "b", "until_seconds": clock.now + 900}
        while not documents.swap("lease", documents.read("lease"), other):
            pass
        silent._thread.join(10)  # it ends by itself
        assert not silent._thread.is_alive()
        assert not silent.renew()
    assert documents.read("lease") == other


def test_a_clock_that_is_ahead_takes_a_lease_and_the_other_controller_stops(documents):
    here, ahead = Clock(), Clock()
    ahead.now += 3_600
    with Lease(documents, "a", 60, here) as slow, Lease(documents, "b", 60, ahead) as lease:
        assert not slow.renew()
        assert lease.renew()

        def while_it_is_renewed(seconds):
            ahead.now += seconds
            lease.renew()

        watching = Lease(documents, "a", 60, here, while_it_is_renewed)
        with pytest.raises(StoreError, match="b runs this rollout, and holds it for 60 more seconds"), watching:
            raise AssertionError("two hold it")


def test_a_lease_by_a_clock_that_is_ahead_ends_when_nobody_renews_it(documents):
    here, waited = Clock(), []
    assert documents.swap("lease", None, {"holder": "elsewhere:1", "until_seconds": 1e12})
    with Lease(documents, "a", 60, here, waited.append) as lease:
        assert sum(waited) == 60
        assert lease.renew()
    assert documents.read("lease")["holder"] == ""


@pytest.mark.parametrize(
    "written", [{"holder": 3, "until_seconds": 1e12}, {"x": 1}, {"holder": "a", "until_seconds": "soon"}]
)
def test_a_lease_that_was_damaged_is_held_by_nobody(documents, written):
    assert documents.swap("lease", None, written)
    assert current_holder(documents) == ""
    with Lease(documents, "a", 60, Clock()) as lease:
        assert lease.renew()


def test_what_ended_a_rollout_is_told_even_if_the_lease_cannot_be_let_go():
    documents = Watched(0)

    def stopped():
        with Lease(documents, "a", 60, Clock()):
            documents.is_lost = True
            raise KeyError("what happened")

    with pytest.raises(KeyError, match="what happened"):
        stopped()
    assert documents.read("lease")["holder"] == "a"
