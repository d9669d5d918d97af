"""Table of maps without pairs: true agreement beside what each says of itself."""

from statistics import mean

from benchmarks.rendering.markdown import result, table

_COLUMNS = {
    "status quo": ("old", "agreement"),
    "mutual neighbours alone": ("self-learning", "agreement"),
    "`fit_unpaired`": ("unpaired", "agreement"),
    "it says": ("unpaired", "own_agreement"),
    "Procrustes with pairs": ("procrustes", "agreement"),
}


def unpaired() -> str:
    """One line an upgrade and choice of items: means over seeds, each seed behind it, and how often it warned."""
    rows = result("unpaired")
    settings = list(dict.fromkeys((r["setting"]["upgrade"], r["setting"]["items"]) for r in rows))
    lines = []
    for upgrade, items in settings:
        own = [r for r in rows if r["setting"] == {"upgrade": upgrade, "items": items}]
        cells = [
            _cell([r["value"] for r in own if (r["method"], r["metric"]) == column]) for column in _COLUMNS.values()
        ]
        warned = [r["value"] for r in own if r["metric"] == "warned"]
        lines.append([f"{upgrade}, {items}", *cells, f"{sum(warned):.0f} of {len(warned)}"])
    return table(["", *_COLUMNS, "warned"], lines)


def _cell(values: list[float]) -> str:
    return f"{mean(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


TABLES = {"unpaired": unpaired}
