"""Embridge: upgrade your embedding model, keep your index."""

from embridge.adapters import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import EmbridgeError
from embridge.nearest import Hits, search, top_k
from embridge.space import Space

__all__ = ["Embeddings", "EmbridgeError", "Hits", "Space", "Upgrade", "__version__", "search", "top_k"]

__version__ = "0.1.0"
