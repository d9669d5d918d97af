"""Tables of how much a map keeps by number of pairs, one for each direction."""

from benchmarks.rendering.markdown import label, order, result, summary, table


def pairs_curve(direction: str) -> str:
    """The share of the full backfill's Recall@10 that is kept, by number of pairs; mean over seeds ± half its interval."""
    rows = [r for r in result("pairs_curve") if r["direction"] == direction]
    full = {r["seed"]: r["value"] for r in rows if r["cell"] == "new/new"}
    counts = sorted({r["setting"]["pairs"] for r in rows})
    lines = []
    for method in order(r["method"] for r in rows if r["cell"] in ("old/old", "new/old", "naive")):
        cells = []
        for count in counts:
            own = [r for r in rows if r["method"] == method and r["setting"]["pairs"] in (count, counts[0])]
            of_count = [r for r in own if r["setting"]["pairs"] == count] or own  # status quo and naive need no pairs
            cells.append(summary([r | {"value": r["value"] / full[r["seed"]]} for r in of_count]))
        lines.append([label(method), *cells])
    return table(["", *(f"{count:,}" for count in counts)], lines)


TABLES = {"pairs-curve-t2i": lambda: pairs_curve("t2i"), "pairs-curve-i2t": lambda: pairs_curve("i2t")}
