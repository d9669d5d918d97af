"""What people read for an id, from tables that hold it beside the vectors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from embridge.errors import InvalidInput
from embridge.vector_files._said import stored_suffix
from embridge.vector_files._tables import table_batches, texts_of

__all__ = ["read_texts"]

_TEXT_ROWS = 65_536


def read_texts(path: Path | str, *, columns: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read what people read for an id, such as a title, from a table that holds it beside the vectors.

    Args:
        path: A Parquet, Arrow or Feather file.
        columns: What it calls its columns ``id`` and ``text``.

    Returns:
        From ids to texts; rows without a text are left out.

    Raises:
        InvalidInput: It is no such table, or the column holds no texts.

    Examples:
        >>> import pyarrow as pa
        >>> import pyarrow.parquet as pq
        >>> pq.write_table(pa.table({"sku": [7, 8], "title": ["a red shoe", None]}), "shop.parquet")
        >>> read_texts("shop.parquet", columns={"id": "sku", "text": "title"})
        {'7': 'a red shoe'}
    """
    path, names, start = Path(path), {"id": "id", "text": "text"} | dict(columns or {}), 0
    texts: dict[str, str] = {}
    if stored_suffix(path, None) == ".npy":
        raise InvalidInput(f"{path}: an npy file has no texts; expected Parquet, Arrow or Feather")
    for batch in table_batches(path, _TEXT_ROWS, pair := (names["id"], names["text"])):
        texts.update(texts_of(batch, path, pair, start=start))
        start += len(batch)
    return texts
