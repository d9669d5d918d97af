"""Tables of heads alone: what is found, and what it costs."""

from benchmarks.rendering.training import cost, quality

TABLES = {"head-only": lambda: quality("head_only"), "head-only-cost": lambda: cost("head_only")}
