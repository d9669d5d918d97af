"""Table of how often one caption is found, the others of its photo left out."""

from benchmarks.rendering.markdown import named, result, summary, table, unique


def one_caption() -> str:
    """One line a query, one column a gallery."""
    rows = result("flickr8k_ceiling")
    galleries = unique(r["setting"]["gallery"] for r in rows)
    lines = []
    for query in unique(r["method"] for r in rows):
        own = [[r for r in rows if (r["method"], r["setting"]["gallery"]) == (query, g)] for g in galleries]
        lines.append([named(query), *(summary(cell) if cell else "" for cell in own)])
    return table(["", *(f"{gallery} captions" for gallery in galleries)], lines)


TABLES = {"flickr8k-ceiling": one_caption}
