"""Table of what serving costs and what batches gain."""

from benchmarks.rendering.markdown import Row, result, table

_TASKS = {
    "base64": ("256 texts of 512 dims, as base64", "vectors_per_second", "bare-route", "bare route"),
    "raw": ("the same as raw float32", "vectors_per_second", "bare-route", "bare route"),
    "batches": ("32 clients with MiniLM, a text each", "texts_per_second", "one-by-one", "encoded one by one"),
}


def serving() -> str:
    """One line a task: ours, the baseline, and how many times as fast."""
    by = {(row["setting"]["task"], row["method"], row["metric"]): row for row in result("serving")}
    lines = [_rates(by, task) for task in _TASKS]
    for task, words, other, baseline in (
        ("one text", "one text, 50 requests a second", "encoder", "the encoder alone"),
        ("search", "a search of 100,000 × 384 in LanceDB", "store", "the store's own"),
    ):
        ours, theirs = (by[task, method, "p50_seconds"]["value"] * 1e3 for method in ("embridge", other))
        lines.append([words, f"{ours:.2f} ms", f"{theirs:.2f} ms ({baseline})", f"{ours - theirs:+.2f} ms"])
    return table(["task", "served", "compared with", "ratio or difference"], lines)


def _rates(by: dict[tuple[str, str, str], Row], task: str) -> list[str]:
    words, metric, other, baseline = _TASKS[task]
    ours = "together" if task == "batches" else "embridge"
    ratio = by[task, ours, f"speed_over_{other}".replace("-", "_")]
    rates = [by[task, method, metric]["value"] for method in (ours, other)]
    return [
        words,
        f"{rates[0]:,.0f}/s",
        f"{rates[1]:,.0f}/s ({baseline})",
        f"{ratio['value']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})",
    ]


TABLES = {"serving": serving}
