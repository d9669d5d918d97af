"""Table of recall by how many names the map is fitted on."""

from benchmarks.rendering.markdown import LABELS, RECALLS, result, summary, table, unique


def names_curve() -> str:
    """The old model first, then one line a number of names: mean over splits ± half its interval."""
    rows = result("clip_lvis_names")
    columns = [(model, metric) for model in unique(r["setting"]["new"] for r in rows) for metric in RECALLS]
    counts = sorted({r["setting"]["names"] for r in rows})
    labels = {("old/old", counts[0]): LABELS["old"]} | {("new/old", n): f"{n:,} names" for n in counts}
    labels["new/old", counts[-1]] += " (with those that are asked)"
    lines = []
    for key, label in labels.items():
        own = [r for r in rows if (r["cell"], r["setting"]["names"]) == key]
        cells = [[r for r in own if (r["setting"]["new"], r["metric"]) == column] for column in columns]
        lines.append([label, *map(summary, cells)])
    return table(["", *(f"{model}, R@{metric.rpartition('_')[2]}" for model, metric in columns)], lines)


TABLES = {"clip-lvis-names": names_curve}
