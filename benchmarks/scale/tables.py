"""Table of what workers cost and gain over one plain process."""

from benchmarks.rendering.workers import of_workers


def scale() -> str:
    """Of a file that is translated."""
    return of_workers("scale")


TABLES = {"scale": scale}
