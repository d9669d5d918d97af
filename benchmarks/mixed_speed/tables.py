"""Table of what mixed search of a partly backfilled gallery costs."""

from benchmarks.rendering.markdown import result, table


def mixed_speed() -> str:
    """One line a merge and state of the backfill: seconds over those of two plain searches."""
    lines = []
    for row in result("mixed_speed"):
        if row["metric"] == "seconds_over_two_searches":
            of = row["setting"]
            rows = f"{of['gallery']:,}, {of['backfilled']:.0%} re-encoded, old rows {'kept' if of['kept'] else 'moved'}"
            value = f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})"
            lines.append([rows, row["method"].removeprefix("mixed "), value])
    return table(["rows", "merge", "seconds over two plain searches"], lines, words=(0, 1))


TABLES = {"mixed-speed": mixed_speed}
