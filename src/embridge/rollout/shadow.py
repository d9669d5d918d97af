"""The shadow: a share of the queries that the old model answers is asked through the bridge too, where nobody sees it."""

from __future__ import annotations

import atexit
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Lock, Thread
from typing import Any

from embridge.embeddings import Embeddings
from embridge.nearest import Hits
from embridge.rollout.shadow_log import ShadowLog, ShadowSample, add_to_log, compare_hits
from embridge.rollout.state import RolloutState
from embridge.stores.documents import Documents

__all__ = ["Shadow"]

_WAITING_CALLS = 64
_IDLE_SECONDS = 30.0
_LAST_SECONDS = 2.0
_SLOWEST, _MANY = 30, 500  # times the interval between two writes, once more by so many samples
_VECTORS = "vectors of the old model"

_Ask = Callable[[Sequence[Any]], Hits]


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    upgrade_id: str
    queries: list[Any]
    ask: _Ask
    hits: Hits
    seconds: float


@dataclass(slots=True)
class _Tally:
    samples: list[ShadowSample] = field(default_factory=list)
    empty: int = 0
    dropped: int = 0
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Shadow:
    """Asks sampled queries through the bridge in a thread of its own, and logs how far the answers agree.

    Whoever searches waits for none of it, and hears of no error. Where more queries are drawn than the thread can ask, the
    rest is dropped and counted. The log holds numbers alone: see `embridge.rollout.shadow_log`.

    Attributes:
        documents: Of the store; the log stands there.
        draw: Gives a number in [0, 1) a query, by which it is asked or not.
        write_seconds: How often the log is written; more seldom once it holds many samples.

    Examples:
        >>> import numpy as np
        >>> from embridge import Space
        >>> from embridge.rollout.shadow_log import read_log
        >>> from embridge.stores.documents import MemoryDocuments
        >>> hits = Hits((("a",),), np.ones((1, 1), np.float32))
        >>> shadow = Shadow(MemoryDocuments())
        >>> state = RolloutState(Space("m", "1", 2), Space("m", "2", 2), "upgrade", "a1b2", phase="shadow", shadow=1.0)
        >>> shadow.offer(state, ["a query"], lambda queries: hits, hits=hits, seconds=0.01)
        >>> shadow.flush()
        >>> read_log(shadow.documents, "sampled", upgrade_id="a1b2").samples[0].overlap
        1.0
    """

    documents: Documents
    draw: Callable[[], float] = random.random
    write_seconds: float = 10.0
    _calls: Queue[_Call | None] = field(default_factory=lambda: Queue(_WAITING_CALLS), init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _thread: Thread | None = field(default=None, init=False, repr=False)
    _tallies: dict[str, _Tally] = field(default_factory=dict, init=False, repr=False)
    _written: int = field(default=0, init=False, repr=False)

    def offer(
        self,
        state: RolloutState | None,
        queries: Sequence[Any] | Embeddings,
        ask: _Ask,
        *,
        hits: Hits,
        seconds: float,
    ) -> None:
        """Draw from the queries of a call that was answered; returns at once, and raises nothing.

        Args:
            state: That the call went by; nothing happens in another phase than ``shadow``.
            queries: Its texts or images. Vectors of the old model cannot be asked by another; they are counted.
            ask: From some of these to their hits through the bridge.
            hits: The answer.
            seconds: How long that took.
        """
        if state is None or state.phase != "shadow":
            return
        drawn = [row for row in range(len(queries)) if self.draw() < state.shadow]
        if not drawn:
            return
        if isinstance(queries, Embeddings):
            self._count(state.upgrade_id, failed=Counter({_VECTORS: len(drawn)}))
        else:
            chosen = Hits(tuple(hits.ids[row] for row in drawn), hits.scores[drawn])
            items = [queries[row] for row in drawn]
            call = _Call(state.upgrade_id, items, ask, chosen, seconds / len(queries))
            try:
                self._calls.put_nowait(call)
            except Full:
                self._count(state.upgrade_id, dropped=len(drawn))
        self._start()

    def flush(self) -> None:
        """Wait until all that was drawn is asked, and write the log; raises what the store does."""
        self._start()
        self._calls.join()
        self._write()

    def close(self) -> None:
        """What waits is let go, and what was compared is written, within a moment; also called as the process ends."""
        with suppress(Empty):
            while True:
                if (call := self._calls.get_nowait()) is not None:
                    self._count(call.upgrade_id, dropped=len(call.queries))
                self._calls.task_done()
        with self._lock:
            thread, self._thread = self._thread, None
        atexit.unregister(self.close)
        if thread is not None:
            with suppress(Full):  # others ask on, whose queries it has to take
                self._calls.put_nowait(None)
                thread.join(_LAST_SECONDS)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # as in a fork
                self._thread = Thread(target=self._work, name="embridge shadow", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _work(self) -> None:
        """Ask what is drawn; end where nothing was for a while, or the process does."""
        asked_at = written_at = time.monotonic()
        ended = False
        while not ended:
            with suppress(Empty):
                call = self._calls.get(timeout=min(self.write_seconds, _IDLE_SECONDS))
                asked_at, ended = time.monotonic(), call is None
                if call is not None:
                    self._compare(call)
                self._calls.task_done()
            idle = time.monotonic() - asked_at > _IDLE_SECONDS
            slower = min(_SLOWEST, 1 + self._written // _MANY)
            if ended or idle or time.monotonic() - written_at > slower * self.write_seconds:
                with suppress(Exception):  # it is nobody's but the shadow's, and counted
                    self._write()
                written_at = time.monotonic()
            with self._lock:
                if idle and self._calls.empty():
                    self._thread = None
                    atexit.unregister(self.close)
                    return

    def _compare(self, call: _Call) -> None:
        try:
            began = time.perf_counter()
            bridged = call.ask(call.queries)
            seconds = (time.perf_counter() - began) / len(call.queries)
            pairs = compare_hits(call.hits, bridged, seconds=(call.seconds, seconds))
        except Exception as error:  # whatever it is, it is nobody's but the shadow's
            self._count(call.upgrade_id, failed=Counter({type(error).__name__: len(call.queries)}))
            return
        samples = [sample for sample in pairs if sample is not None]
        self._count(call.upgrade_id, samples=samples, empty=len(pairs) - len(samples))

    def _count(
        self,
        upgrade_id: str,
        *,
        samples: Sequence[ShadowSample] = (),
        empty: int = 0,
        dropped: int = 0,
        failed: Counter[str] | None = None,
    ) -> None:
        with self._lock:
            tally = self._tallies.setdefault(upgrade_id, _Tally())
            tally.samples += samples
            tally.empty += empty
            tally.dropped += dropped
            tally.failed += failed or Counter()

    def _write(self) -> None:
        """Write what was compared; what the store does not take is lost, and counted in the next batch."""
        with self._lock:
            tallies, self._tallies = self._tallies, {}
        errors = []
        for upgrade_id, tally in tallies.items():
            samples = tuple(tally.samples)
            batch = ShadowLog(upgrade_id, samples, len(samples), tally.empty, tally.dropped, dict(tally.failed))
            try:
                add_to_log(self.documents, batch)
            except Exception as error:
                failed = tally.failed + Counter({type(error).__name__: len(samples)})
                self._count(upgrade_id, empty=tally.empty, dropped=tally.dropped, failed=failed)
                errors.append(error)
                continue
            self._written += len(samples)
        if errors:
            raise errors[0]
