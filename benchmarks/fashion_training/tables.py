"""Tables of compatible training on product photos: what is found, and what it costs."""

from benchmarks.rendering.training import cost, quality

TABLES = {
    "fashion-training": lambda: quality("fashion_training"),
    "fashion-training-cost": lambda: cost("fashion_training"),
}
