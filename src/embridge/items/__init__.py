"""Where the text or the image of a stored row comes from, by its id."""

from embridge.items.reading import Items, read_items
from embridge.items.source import ItemSource

__all__ = ["ItemSource", "Items", "read_items"]
