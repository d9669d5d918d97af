"""Queries of a file asked both ways, and what is known of those of an application: the work of ``embridge shadow``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embridge.datasets.captions import read_all_captions
from embridge.datasets.judged_pairs import read_pairs
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.evaluation import Relevance
from embridge.jobs.models import Models
from embridge.jobs.rollout._shadow_page import require_free_page, write_shadow_page
from embridge.jobs.rollout.gating import checked_gates
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.nearest import Hits
from embridge.progress import Progress, silent
from embridge.rollout.gates import RolloutGate
from embridge.rollout.quality import Quality, deepest_of, quality_of
from embridge.rollout.shadow_figures import ShadowFigures, shadow_figures
from embridge.rollout.shadow_log import ShadowLog, ShadowSample, compare_hits, write_log
from embridge.stores import parse_url

__all__ = ["ShadowResult", "shadow_rollout"]

_KEPT = 2_000
_PAGE_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class ShadowResult:
    """What is known of a bridge before anybody sees its answers.

    Attributes:
        store: The store, without passwords.
        figures: Of sampled queries, and of those of a file.
        gates: Of the settings.

    Examples:
        >>> ShadowResult("memory:", (), ()).to_dict()["shadow"]
        {}
    """

    store: str
    figures: tuple[ShadowFigures, ...]
    gates: tuple[RolloutGate, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        shadow = {one.source: one.to_dict() for one in self.figures}
        gates = [gate.to_dict() for gate in self.gates]
        return {"schema": "embridge.shadowed/1", "store": self.store, "shadow": shadow, "gates": gates}

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """A title and rows for each source, and for the gates."""
        tables = [(one.title, one.rows()) for one in self.figures]
        if self.gates:
            tables.append(("gates", [[gate.gate, _met(gate)] for gate in self.gates]))
        return tables


def shadow_rollout(
    settings: Path | str,
    *,
    queries: Path | str | None = None,
    page: Path | str | None = None,
    progress: Progress = silent,
) -> ShadowResult:
    """Ask the queries of a file both ways, if one is named, and say what is known. No row and no state changes.

    Args:
        settings: The rollout's settings file.
        queries: A file of queries, in place of the one that the settings name.
        page: Where to write a page with the figures.
        progress: Hears how many queries were asked.

    Returns:
        The figures, those of an application's sampled queries too, and the gates.

    Raises:
        SettingsError: The settings do not say what they must, such as which model is the old one.
        InvalidInput: A file of queries cannot be read, or no judged item is a row.
        StoreError: The store cannot be read.

    Examples:
        >>> shadow_rollout("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    if page is not None:
        require_free_page(page)
    with closing(open_rollout(settings)) as opened:
        opened.require_old_rows()
        relevance, texts = _questions(opened, None if queries is None else Path(queries))
        if texts:
            write_log(opened.store.documents, _asked_both_ways(opened, texts, relevance, progress))
        figures = shadow_figures(opened.store.documents, upgrade_id=opened.upgrade_id)
        result = ShadowResult(str(parse_url(opened.settings.store)), figures, checked_gates(opened))
    if page is not None:
        write_shadow_page(page, result.store, result.figures, result.gates)
    return result


def _questions(opened: OpenRollout, queries: Path | None) -> tuple[Relevance | None, list[str]]:
    """What judges, and all queries, judged ones first."""
    options = opened.settings.shadow
    queries = queries or options.queries
    texts = [] if queries is None else read_all_captions(queries).texts
    if options.judged is None:
        return None, texts
    pairs = read_pairs(options.judged)
    rows = (pairs.items[start : start + _PAGE_ROWS] for start in range(0, len(pairs.items), _PAGE_ROWS))
    if not any(len(opened.store.fetch(opened.old, part)) for part in rows):
        raise InvalidInput(
            f"{options.judged}: none of its {len(pairs.items):,} items is a row of the store, first {pairs.items[0]!r}; name "
            "rows by their ids"
        )
    return Relevance.from_pairs(pairs.pairs), list(dict.fromkeys([*pairs.queries, *texts]))


def _asked_both_ways(
    opened: OpenRollout, texts: Sequence[str], relevance: Relevance | None, progress: Progress
) -> ShadowLog:
    options, judged = opened.settings.shadow, 0 if relevance is None else len(relevance.gains)
    depth = max(options.k, deepest_of(options.metrics)) if judged else options.k
    models = _old_encoder(opened), opened.encoder()
    _asked(opened, texts[0], models, depth)  # what is loaded at first is not counted
    samples: list[ShadowSample | None] = []
    found: tuple[list[tuple[str, ...]], list[tuple[str, ...]]] = [], []
    for row, text in enumerate(texts):  # one by one, as an application asks, so that the times are what it would see
        both, seconds = _asked(opened, text, models, depth)
        old, bridged = (Hits((one.ids[0][: options.k],), one.scores[:, : options.k]) for one in both)
        samples += compare_hits(old, bridged, seconds=seconds)
        for names, one in zip(found, both, strict=True):
            names += one.ids
        progress(row + 1, len(texts), "queries asked both ways")
    kept = tuple(sample for sample in samples if sample is not None)
    quality: tuple[Quality, ...] = ()
    if relevance is not None:
        quality = quality_of(relevance, texts[:judged], (found[0][:judged], found[1][:judged]), options.metrics)
    whole = ShadowLog(opened.upgrade_id, empty=len(samples) - len(kept), quality=quality)
    return whole.merged(ShadowLog(opened.upgrade_id, kept, len(kept)), most=_KEPT)


def _asked(
    opened: OpenRollout, text: str, models: tuple[Encoder, Encoder], k: int
) -> tuple[tuple[Hits, Hits], tuple[float, float]]:
    """The hits of both, and how long each took."""
    hits, seconds = [], []
    for model, bridge in zip(models, (None, opened.upgrade.to_index_space), strict=True):
        began = time.perf_counter()
        query = Embeddings.of(model.encode([text], modality="text", role="query"), model.space)
        hits.append(opened.store.search(query if bridge is None else bridge(query), k))
        seconds.append(time.perf_counter() - began)
    return (hits[0], hits[1]), (seconds[0], seconds[1])


def _old_encoder(opened: OpenRollout) -> Encoder:
    """The old model, as the settings name it, the store's declaration or the upgrade."""
    models, named = Models(), opened.settings.shadow.old
    declared = opened.store.declaration(opened.old)
    name = declared.encoder or opened.upgrade.provenance.encoders.get("old")
    if named is not None:
        encoder = models.encoder(named)
    elif name is not None:
        encoder = models.named(name, **(dict(declared.options) if declared.encoder else {}))
    else:
        raise SettingsError(f"{opened.path}: nothing says which model is the old one; name it in shadow.old")
    if encoder.space != opened.old:
        raise SpaceMismatch(f"{opened.path}: the old rows are of {opened.old}, and the old model of {encoder.space}")
    return encoder


def _met(gate: RolloutGate) -> str:
    return f"{'met' if gate.passed else 'not met'}: {gate.told}"
