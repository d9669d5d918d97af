"""Batching: requests that come while a model is busy are encoded together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from embridge.encoders._cut_texts import counted_cuts
from embridge.encoders.base import Encoder, Modality, Role
from embridge.errors import EmbridgeError, InvalidInput
from embridge.space import Space

__all__ = ["Batcher", "Busy", "InTurn", "TooLong", "refused_cuts"]

Encode = Callable[..., np.ndarray]
_refusing: ContextVar[bool] = ContextVar("whether a text that would be cut is refused", default=False)


class Busy(EmbridgeError):
    """More items wait than are allowed."""


class TooLong(InvalidInput):
    """A text is longer than the model takes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    items: Sequence[Any]
    kind: tuple[Modality, Role]
    vectors: asyncio.Future[np.ndarray]


@dataclass(slots=True, eq=False)
class Batcher:
    """One model, that encodes what waits for it at once.

    Nothing waits for company: a request that finds the model free is encoded alone. Those that come meanwhile go together,
    up to ``batch_items``; a request is never split. If a batch fails, its requests are tried one by one, so that an item that
    cannot be read fails its own request alone.

    Attributes:
        encode: ``Encoder.encode``, called in a thread of its own.
        batch_items: Items of several requests that go together.
        waiting: Items that may wait.
        refuse_long: Whether a text that the model would cut is refused.

    Examples:
        >>> import asyncio
        >>> batcher = Batcher(lambda items, *, modality, role: np.ones((len(items), 2), np.float32))
        >>> asyncio.run(batcher.vectors(["a", "b"], "text", "query")).shape
        (2, 2)
        >>> batcher.close()
    """

    encode: Encode
    batch_items: int = 256
    waiting: int = 16_384
    refuse_long: bool = False
    _requests: deque[_Request] = field(default_factory=deque, init=False, repr=False)
    _items: int = field(default=0, init=False, repr=False)
    _begun: bool = field(default=False, init=False, repr=False)
    _thread: ThreadPoolExecutor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    @property
    def depth(self) -> int:
        """Items that wait now."""
        return self._items

    async def vectors(self, items: Sequence[Any], modality: Modality, role: Role) -> np.ndarray:
        """The vectors of some items, encoded with those of others.

        Args:
            items: Texts or images; at least one.
            modality: What they are.
            role: What they are for.

        Returns:
            Rows [n, d], in order.

        Raises:
            Busy: More items wait than may.
            TooLong: A text is longer than the model takes, and is to be refused.
        """
        if self._items and self._items + len(items) > self.waiting:
            raise Busy(f"{self._items:,} items wait for the model, and {self.waiting:,} may; try again soon")
        request = _Request(items, (modality, role), asyncio.get_running_loop().create_future())
        self._requests.append(request)
        self._items += len(items)
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._begin)  # after the requests that came at the same moment
        return await request.vectors

    def now(self, items: Sequence[Any] | np.ndarray, modality: Modality, role: Role) -> np.ndarray:
        """The same for a thread, which waits: the model is never asked by two threads at once."""
        encode = self._rows if _refusing.get() else self.encode
        return self._thread.submit(encode, items, modality=modality, role=role).result()

    def close(self) -> None:
        """Let go of the thread, when it has done what it is at."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(self) -> None:
        """Give the next batch to the model; none is at work."""
        batch = self._next()
        if not batch:
            self._begun = False
            return
        outcomes = asyncio.get_running_loop().run_in_executor(self._thread, self._outcomes, batch)
        outcomes.add_done_callback(partial(self._deliver, batch))

    def _deliver(self, batch: Sequence[_Request], outcomes: asyncio.Future[list[np.ndarray | BaseException]]) -> None:
        ended = asyncio.CancelledError() if outcomes.cancelled() else outcomes.exception()
        for request, outcome in zip(batch, outcomes.result() if ended is None else [ended] * len(batch), strict=True):
            if request.vectors.done():  # whoever asked has gone
                continue
            if isinstance(outcome, BaseException):
                request.vectors.set_exception(outcome)
            else:
                request.vectors.set_result(outcome)
        self._begin()

    def _next(self) -> list[_Request]:
        """The requests of one kind that wait longest and fit into a batch; those that nobody waits for are dropped."""
        batch: list[_Request] = []
        count = 0
        left: deque[_Request] = deque()
        while self._requests:
            request = self._requests.popleft()
            if request.vectors.done():
                self._items -= len(request.items)
            elif not batch or (request.kind == batch[0].kind and count + len(request.items) <= self.batch_items):
                batch.append(request)
                count += len(request.items)
                self._items -= len(request.items)
            else:
                left.append(request)
        self._requests = left
        return batch

    def _outcomes(self, batch: Sequence[_Request]) -> list[np.ndarray | BaseException]:
        """Of each request its vectors, or why there are none."""
        try:
            return list(self._encoded(batch))
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [outcome for request in batch for outcome in self._outcomes([request])]

    def _encoded(self, batch: Sequence[_Request]) -> list[np.ndarray]:
        modality, role = batch[0].kind
        if len(batch) == 1:
            return [self._rows(batch[0].items, modality=modality, role=role)]
        items = [item for request in batch for item in request.items]
        rows = self._rows(items, modality=modality, role=role)
        ends = np.cumsum([len(request.items) for request in batch])
        return np.split(rows, ends[:-1])

    def _rows(self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role) -> np.ndarray:
        with counted_cuts() as cuts:
            rows = self.encode(items, modality=modality, role=role)
        if cuts.cut and self.refuse_long:
            raise TooLong(
                f"{cuts.cut} of {cuts.texts} texts are longer than the {cuts.limit} tokens that the model takes"
            )
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class InTurn:
    """An encoder for threads beside the batches, which takes its turn among them.

    Attributes:
        encoder: The model.
        batcher: Its batches.
    """

    encoder: Encoder
    batcher: Batcher

    @property
    def space(self) -> Space:
        """Where the vectors lie."""
        return self.encoder.space

    @property
    def modalities(self) -> frozenset[Modality]:
        """What is taken."""
        return self.encoder.modalities

    def encode(self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document") -> np.ndarray:
        """See `Encoder`."""
        return self.batcher.now(items, modality, role)


@contextmanager
def refused_cuts() -> Iterator[None]:
    """Within, `InTurn` refuses a text that is longer than the model takes, if its batcher does."""
    token = _refusing.set(True)
    try:
        yield
    finally:
        _refusing.reset(token)
