"""LanceDB in object storage: an S3 server that moto imitates. On demand: pip install 'moto[server]'."""

from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from failing_server import free_port

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores import Condition, Declaration, Place, open_store

moto = pytest.importorskip(
    "moto.server", reason="moto, which imitates S3, is not installed: pip install 'moto[server]'"
)

SPACE = Space("toy", "1", 4)
ROWS = Embeddings.of(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), SPACE)
SECRET = "a-key-that-nobody-sees"


@pytest.fixture
def bucket(monkeypatch):
    server = moto.ThreadedMotoServer(port=free_port(), verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    names = {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": SECRET, "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    for name, value in {**names, "ENDPOINT": address}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    urlopen(Request(f"{address}/shop", method="PUT")).close()
    yield "s3://shop/index"
    server.stop()


def test_a_table_in_object_storage(bucket):
    flat = pa.array(ROWS.vectors.reshape(-1))
    columns = {"sku": list(ROWS.ids), "emb": pa.FixedSizeListArray.from_arrays(flat, 4), "n": list(range(20))}
    lancedb.connect(bucket).create_table("items", pa.table(columns))
    store = open_store(f"lancedb:{bucket}#items")
    store.adopt(Declaration(SPACE, Place("items", "emb", "sku")))
    other = open_store(f"lancedb:{bucket}#items")
    assert other.spaces() == [SPACE]
    assert other.search(ROWS.take([3]), 1, filter=(Condition("n", "<", 9),)).ids == (("3",),)
    new = Space("toy", "2", 4)
    store.add_space(new)
    store.upsert(Embeddings(ROWS.ids, ROWS.vectors, new), {"n": list(range(20))})
    assert (other.count(new), other.missing(new, SPACE, limit=5)) == (20, [])
    assert store.swap_state(None, {"step": 0})
    with ThreadPoolExecutor(4) as pool:
        won = pool.map(
            lambda number: open_store(f"lancedb:{bucket}#items").swap_state({"step": 0}, {"won": number}), range(4)
        )
        assert sum(won) == 1


def test_what_is_not_there_is_one_line_without_keys(bucket, monkeypatch):
    with pytest.raises(StoreError, match="s3://shop/nothing has no table 'items'; there are none"):
        open_store("lancedb:s3://shop/nothing#items")
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"^s3://shop/index cannot be opened as a LanceDB store: ") as refusal:
        open_store(f"lancedb:{bucket}#items")
    assert SECRET not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700
