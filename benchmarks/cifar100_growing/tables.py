"""Tables of a growing backbone: what is found, and what it costs."""

from benchmarks.rendering.training import cost, quality

TABLES = {
    "cifar100-growing": lambda: quality("cifar100_growing"),
    "cifar100-growing-cost": lambda: cost("cifar100_growing"),
}
