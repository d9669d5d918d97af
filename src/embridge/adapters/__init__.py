"""Maps between spaces, and the upgrade they make up."""

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.linear import Identity, Linear
from embridge.adapters.mlp import MLP, Layer
from embridge.adapters.prefix import Prefix
from embridge.adapters.upgrade import Upgrade
from embridge.provenance import Provenance

__all__ = ["MLP", "Adapter", "Composed", "Identity", "Layer", "Linear", "Prefix", "Provenance", "Upgrade"]
