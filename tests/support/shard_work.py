"""What tests let workers do: in a module of its own, since workers import it."""

import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from embridge.errors import InvalidInput


@dataclass(frozen=True)
class Work:
    """Prepares workers that leave a mark of everything they do in a folder."""

    folder: str = ""
    odd: int = -1  # the shard that is done otherwise
    way: str = ""

    def __call__(self):
        self._mark("prepared")
        if self.way == "never ready":
            os._exit(7)
        return self._square

    def _square(self, number):
        self._mark(f"began {number}")
        if self.way == "all slow":
            time.sleep(0.2)
        if number == self.odd:
            getattr(self, f"_{self.way.replace(' ', '_')}")()
        self._mark(f"done {number}")
        return number * number

    def marks(self, word):
        return sorted(path.name.split("-")[0] for path in Path(self.folder).glob(f"{word}*"))

    def _mark(self, what):
        if self.folder:
            (Path(self.folder) / f"{what}-{os.getpid()}-{time.monotonic_ns()}").touch()

    def _killed_once(self):
        if len(self.marks(f"began {self.odd}")) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def _killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def _refused(self):
        raise InvalidInput("row 7 holds NaN")

    def _wrong(self):
        return {}["nothing"]

    def _no_memory_once(self):
        if len(self.marks(f"began {self.odd}")) == 1:
            before = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, before[1]))
            try:
                bytearray(1 << 31)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)

    def _greedy_once(self):
        if len(self.marks(f"began {self.odd}")) == 1:
            self._greedy()

    def _greedy(self):
        held = bytearray(b"1") * (3 << 30)
        time.sleep(60)
        del held

    def _slow(self):
        time.sleep(0.3)

    def _loud(self):
        print("heard")
        print("heard too", file=sys.stderr)
