"""Table of exact search of a whole image-text set."""

from benchmarks.rendering.markdown import DIRECTIONS, RECALLS, Row, result, table


def full_size() -> str:
    """One line a direction and search."""
    cells: dict[tuple[str, str], dict[str, Row]] = {}
    for row in result("full_size"):
        cells.setdefault((row["direction"], row["method"]), {})[row["metric"]] = row
    lines = []
    for (direction, method), own in cells.items():
        ratio = own.get("speed_over_faiss_flat")
        speed = f"{ratio['value']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})" if ratio else "1"
        recalls = [f"{own[metric]['value']:.4f}" for metric in RECALLS]
        memory = f"{own['peak_bytes']['value'] / 1e6:,.0f}"
        lines.append([DIRECTIONS[direction], method, f"{own['seconds']['value']:.1f}", speed, *recalls, memory])
    head = ["direction", "search", "seconds", "speed, ratio to faiss-flat's", "R@1", "R@5", "R@10", "peak memory, MB"]
    return table(head, lines, words=(0, 1))


TABLES = {"full_size": full_size}
