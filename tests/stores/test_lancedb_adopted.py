"""Tables that LanceDB's own client made: adopted, read and written beside, and left as they are."""

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from embridge.stores.lancedb import LanceStore
from embridge.stores.places import Place
from embridge.testing import ForeignTable, check_adopted_store

ID, VECTOR = "Item ID", "Vec-1"


def id_column(ids):
    if isinstance(ids[0], str):
        return pa.array(ids)
    if isinstance(ids[0], int):
        return pa.array(ids, pa.int64())
    return pa.array([one.bytes for one in ids], pa.binary(16))


def vector_column(vectors, kind, *, fixed=True):
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1)).cast(kind)
    if fixed:
        return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.ListArray.from_arrays(pa.array(range(0, vectors.size + 1, vectors.shape[1]), pa.int32()), flat)


def made(path, ids, vectors, columns, *, kind=None, fixed=True):
    """A table of ids of any kind, two columns of vectors and others, made by LanceDB's client."""
    second = vector_column(np.ones((len(ids), 3), np.float32), pa.float32())
    arrays = {ID: id_column(ids), VECTOR: vector_column(vectors, kind or pa.float32(), fixed=fixed), "second": second}
    arrays |= {name: pa.array(values) for name, values in columns.items()} | {"tags": pa.array([["x"]] * len(ids))}
    return lancedb.connect(str(path)).create_table("docs", pa.table(arrays))


def foreign(kind, *, fixed=True):
    def make(ids, vectors, columns, metric, location):
        table = made(location, ids, vectors, columns, kind=kind, fixed=fixed)
        names = table.schema.names

        def snapshot():
            return lancedb.connect(str(location)).open_table("docs").search().select(names).to_arrow().sort_by(ID)

        def opened(documents):
            return LanceStore(location, table="docs", documents=documents)

        return ForeignTable(opened, Place("docs", VECTOR, ID), snapshot)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fixed"),
    [(pa.float32(), True), (pa.float64(), True), (pa.float32(), False)],
    ids=["float32", "float64", "lists"],
)
def test_contract_of_adopted_tables(kind, fixed):
    assert check_adopted_store(foreign(kind, fixed=fixed)) == []
