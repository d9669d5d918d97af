"""Table of what each store costs over its database's own client."""

from benchmarks.record import FOLDER
from benchmarks.rendering.markdown import Row, result, table

_SCANNED, _DIM = 1_000_000, 384
_HEAD = ["database", "insert", "scan", "fetch", "search, ms", "the client's", "scan's memory, MB more"]


def stores() -> str:
    """One line a vendor: rows a second over the client's, and the median search of each."""
    names = sorted(path.stem for path in (FOLDER / "results" / "stores").glob("*.json"))
    return table(_HEAD, [_line(name, result(f"stores/{name}")) for name in names])


def _line(name: str, rows: list[Row]) -> list[str]:
    by = {(row["setting"]["task"], row["method"], row["metric"]): row for row in rows}
    ratios = [by[task, "embridge", "speed_over_client"] for task in ("insert", "scan", "fetch")]
    searches = [by["search", method, "p50_seconds"]["value"] * 1e3 for method in ("embridge", "client")]
    peaks = [by[key] for key in (("memory", one, "peak_bytes") for one in ("embridge", "client")) if key in by]
    memory = f"{(peaks[0]['value'] - peaks[1]['value']) / 1e6:.0f}" if peaks else "not measured"
    if peaks and (rows_scanned := peaks[0]["setting"]["rows"]) != _SCANNED:
        memory += f" (of {rows_scanned:,} rows)"
    if peaks and (dim := peaks[0]["setting"]["dim"]) != _DIM:
        memory += f" (of {dim} dimensions)"
    return [
        name,
        *(f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})" for row in ratios),
        *(f"{value:.2f}" for value in searches),
        memory,
    ]


TABLES = {"stores": stores}
