"""Table of how long XBT takes, by hidden width."""

from benchmarks.rendering.markdown import result, table


def fit_speed() -> str:
    """One line a width: captions a second, and the seconds of the whole fit where it ran to its end."""
    rows = result("fit_speed")
    whole = {r["setting"]["hidden_width"]: r["value"] for r in rows if r["metric"] == "seconds"}
    lines = []
    for row in rows:
        if row["method"] == "xbt-stage1, some steps":
            width = row["setting"]["hidden_width"]
            lines.append([f"{width:,}", f"{row['value']:,.0f}", f"{whole[width]:.0f}" if width in whole else ""])
    return table(["hidden width", "captions/s", "whole fit, seconds"], lines, words=())


TABLES = {"fit-speed": fit_speed}
