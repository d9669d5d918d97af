"""Table of nearest-neighbour classification."""

from benchmarks.rendering.maps import maps

TABLES = {"banking77": lambda: maps("banking77", (("1-NN accuracy", "cmc_at_1", {}),))}
