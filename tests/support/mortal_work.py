"""Work that ends its worker: in a module of its own, since workers import it."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mortal:
    """Counts rows, and ends its worker at one of them: once, where there is a mark to leave, or always."""

    mark: str
    row: int

    def of(self, vectors, first):
        if first <= self.row < first + len(vectors) and not (self.mark and Path(self.mark).exists()):
            if self.mark:
                Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return len(vectors)

    def joined(self, one, other):
        return one + other
