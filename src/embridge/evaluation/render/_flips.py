"""Queries that were lost beside those that were won, with the items themselves."""

from __future__ import annotations

from collections.abc import Sequence

from embridge.evaluation.figures import Flip
from embridge.evaluation.render._markup import Markup, element
from embridge.evaluation.render.pictures import Picture, Show

__all__ = ["flip_columns"]

_LONGEST = 160
_RIGHT_SHOWN = 5


def flip_columns(lost: Sequence[Flip], won: Sequence[Flip], show: Show) -> Markup:
    """Two columns of queries: what was asked, what is right, and the first hits before and after.

    Args:
        lost: Queries that found a right item before and do not now.
        won: Queries that find one now and did not before.
        show: What people look at for an id.

    Returns:
        The columns; they stand below each other where the page is narrow.

    Examples:
        >>> flip_columns([], [], str)[:31]
        '<div class="flip-columns"><div>'
    """
    columns = [_column("Lost", lost, show), _column("Won", won, show)]
    return element("div", *columns, class_="flip-columns")


def _column(title: str, flips: Sequence[Flip], show: Show) -> Markup:
    body = element("ol", *(_flip(flip, show) for flip in flips), class_="flips", aria_label=title.lower())
    return element("div", element("p", title, class_="column"), body if flips else element("p", "none", class_="note"))


def _flip(flip: Flip, show: Show) -> Markup:
    fell = f"first right item: {_rank(flip.before)} → {_rank(flip.after)}"
    query = _item(flip.query, show)
    name = [element("strong", flip.query, dir="auto")] if isinstance(show(flip.query), Picture) else []
    asked = element("div", query, *name, element("p", fell, class_="note"), class_="asked")
    more = len(flip.right) - _RIGHT_SHOWN
    rows = [
        _row("right", flip.right[:_RIGHT_SHOWN], flip, show, more=f"and {more} more" if more > 0 else ""),
        _row("old model", flip.old_hits, flip, show),
        _row("upgraded", flip.new_hits, flip, show),
    ]
    return element("li", asked, *rows)


def _rank(rank: int) -> str:
    return f"rank {rank:,}" if rank else "not found"


def _row(who: str, items: Sequence[str], flip: Flip, show: Show, *, more: str = "") -> Markup:
    shown = [_item(item, show, right=item in flip.right) for item in items]
    rest = [element("li", more, class_="note")] if more else []
    hits = element("ol", *(element("li", item) for item in shown), *rest, class_="hits")
    return element("div", element("div", who, class_="who"), hits, class_="row")


def _item(item: str, show: Show, *, right: bool = False) -> Markup:
    """A picture with its id as the text for who cannot see it, or a text; framed and ticked where it is right."""
    seen = show(item)
    kind, tick = ("item right", "✓ ") if right else ("item", "")
    if isinstance(seen, Picture):
        picture = element("img", src=seen.uri, alt=f"{tick}{item}", title=item)
        return element("span", picture, element("b", "✓") if right else "", class_=f"{kind} picture")
    text = seen if len(seen) <= _LONGEST else f"{seen[:_LONGEST]}…"
    return element("span", f"{tick}{text}", class_=kind, dir="auto", title=item)
