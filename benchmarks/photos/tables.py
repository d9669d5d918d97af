"""Table of photos that search photos, one column an upgrade."""

from benchmarks.record import read_config
from benchmarks.rendering.maps import Column, maps


def upgrades() -> str:
    """nDCG@10 of each upgrade."""
    return maps("photos", tuple(_column(old, new) for old, new in read_config("photos")["upgrades"]))


def _column(old: str, new: str) -> Column:
    heading = " → ".join(model.removeprefix("mobilenet-") for model in (old, new))
    return heading, "ndcg_at_10", {"old": old, "new": new}


TABLES = {"photos": upgrades}
