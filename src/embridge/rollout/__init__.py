"""Taking a live index through an upgrade."""

from embridge.rollout.order import (
    by_class_distance,
    by_cluster_distance,
    by_frequency,
    by_uncertainty,
    in_random_order,
)

__all__ = ["by_class_distance", "by_cluster_distance", "by_frequency", "by_uncertainty", "in_random_order"]
