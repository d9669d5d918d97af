"""Items out of the values of a column that were read with their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embridge.items import ItemSource, read_items
from embridge.rollout._batch import InRow
from embridge.space import Space

__all__ = ["in_rows"]


@dataclass(frozen=True, slots=True)
class _Values:
    """The column, in the place of a store's."""

    values: Sequence[Any]

    def column(self, space: Space, ids: Sequence[str], name: str) -> list[Any]:
        return list(self.values)


def in_rows(source: ItemSource, space: Space) -> InRow:
    """How items are made of the column in which they stand."""

    def read(ids: Sequence[str], values: Sequence[Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
        if set(map(type, values)) == {str} and all(map(str.strip, values)):
            return dict(zip(ids, values, strict=True)), {}
        items = read_items(source, _Values(values), space, ids)
        return dict(zip(items.ids, items.items, strict=True)), items.missing

    return InRow(source.column, read)
