"""Table of what readers and writers notice of a rollout, and of what its backfill costs."""

from benchmarks.record import FOLDER
from benchmarks.rendering.markdown import result, table

_SUM = {
    "lost or doubled rows": ("lost_old_rows", "doubled_old_rows", "lost_new_rows", "doubled_new_rows"),
    "rows of former content": ("outdated_old_rows", "outdated_new_rows", "outdated_new_rows_when_complete"),
    "failed or wrong reads": ("reads_failed", "reads_wrong"),
    "the same of an old client": ("old_reads_failed", "old_reads_wrong"),
    "failed writes": ("writes_failed", "foreign_writes_failed"),
}
_LINES = (
    ("rows", "", "{:,.0f}", ""),
    ("reads", "reads", "{:,.0f}", ""),
    ("failed or wrong reads", "", "{:.0f}", "0"),
    ("the same of an old client", "", "{:.0f}", "0"),
    ("failed writes", "", "{:.0f}", "0"),
    ("lost or doubled rows", "", "{:.0f}", "0"),
    ("rows of former content", "", "{:.0f}", "0"),
    ("old rows changed by the rollback", "old_rows_changed", "{:.0f}", "0"),
    ("longest pause at a change, s", "longest_pause_seconds", "{:.2f}", "0.10"),
    ("the same elsewhere, s", "longest_pause_elsewhere_seconds", "{:.2f}", ""),
    ("rollback, s", "rollback_seconds", "{:.2f}", "1"),
    ("until readers are back, s", "back_for_readers_seconds", "{:.2f}", "1"),
    ("read by the old model, median s", "read_p50_seconds_old", "{:.3f}", ""),
    ("mixed read, median s", "read_p50_seconds_mixed", "{:.3f}", ""),
    ("read by the new model, median s", "read_p50_seconds_new", "{:.3f}", ""),
    ("slowest percent of foreign writes, over that before", "foreign_writes_p99_ratio", "{:.2f}", "2"),
    ("rows backfilled a second, beside all that", "backfill_rows_per_second", "{:,.0f}", ""),
    ("backfill alone, over the engine's bulk insert", "speed_over_bulk_insert", "{:.2f}", "0.5 or more"),
)


def rollout() -> str:
    """One line a measure, one column an engine."""
    names = sorted(path.stem for path in (FOLDER / "results" / "rollout").glob("*.json"))
    values = [_values(name) for name in names]
    lines = [
        [title, *(_cell(one, title, metric, form) for one in values), target] for title, metric, form, target in _LINES
    ]
    return table(["", *names, "aim"], lines)


def _values(name: str) -> dict[str, float]:
    rows = result(f"rollout/{name}")
    journey = [row for row in rows if row["setting"]["task"] == "journey"]
    return {row["metric"]: row["value"] for row in rows} | {"rows": journey[0]["setting"]["rows"]}


def _cell(values: dict[str, float], title: str, metric: str, form: str) -> str:
    found = [values[name] for name in _SUM.get(title, (metric or title,)) if name in values]
    return form.format(sum(found)) if found else "not measured"


TABLES = {"rollout": rollout}
