"""Declaring of which model the vectors of an index are that was there before, after looking whether that is so."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embridge.encoders import LazyEncoder
from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.items import ItemSource, read_items
from embridge.jobs._claim_check import SAME, Compared, judge
from embridge.jobs._looking import look, parts_of_store
from embridge.jobs._mixing import RowSample
from embridge.jobs._other_prompts import prompt_that_agrees
from embridge.jobs._places import find_place, heard, with_table
from embridge.jobs.adoption import Adoption, Agreement, Claim, OddRow
from embridge.jobs.inspection import Inspection
from embridge.progress import Progress, silent
from embridge.stores import Declaration, Store, StoreUrl, open_store, parse_url
from embridge.stores.documents import MemoryDocuments

__all__ = ["AdoptionCheck", "adopt_index"]

_CHUNK_ROWS, _DRAWN = 16_384, 4
_BATCH_ROWS = {"text": 256, "image": 32}  # images are decoded, and so many are in memory


@dataclass(frozen=True, slots=True)
class AdoptionCheck:
    """How a claim is checked.

    Attributes:
        sample: How many rows are encoded anew; 0 for none.
        min_agreement: The share of them that has to agree.
        seed: Of the draw of the rows.

    Raises:
        SettingsError: They cannot be meant.

    Examples:
        >>> AdoptionCheck().sample
        500
    """

    sample: int = 500
    min_agreement: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sample < 0 or not 0 <= self.min_agreement <= 1:
            raise SettingsError(
                f"sample is 0 or more and min_agreement from 0 to 1; came {self.sample} and {self.min_agreement}"
            )


def adopt_index(
    url: Path | str,
    claim: Claim,
    *,
    check: AdoptionCheck | None = None,
    declare: Literal["if it agrees", "always", "never"] = "if it agrees",
    declarations: Path | str | None = None,
    progress: Progress = silent,
) -> Adoption:
    """Look whether the vectors of an index are of the model that is claimed, and declare it. No row is changed.

    A sample of rows, drawn evenly from all, is encoded anew and compared with what is stored. Where items cannot be reached,
    nothing can be compared; then it speaks against the claim if the rows fall into groups as those of two models do.

    Args:
        url: The store.
        claim: What is said of it.
        check: How that is checked.
        declare: Whether to write the declaration; ``always`` where the check speaks against it, too.
        declarations: See `embridge.open_store`.
        progress: Hears how many rows were read and encoded.

    Returns:
        What was found, and whether it was declared.

    Raises:
        SettingsError: The table, the vectors or the ids cannot be told, or the model takes no such items.
        SpaceMismatch: There are no vectors of the model's dimension.
        StoreError: The store cannot be read, its ids repeat, or the vectors are declared to be of another model.

    Examples:
        >>> adopt_index("memory:", Claim("clip:./none"))
        Traceback (most recent call last):
        embridge.errors.SettingsError: there is no folder ./none; a model is named by its folder, or by its id on the hub
    """
    check, address = check or AdoptionCheck(), with_table(parse_url(url), claim.place.table)
    encoder = LazyEncoder(claim.encoder, **claim.options)
    if claim.items is not None and claim.items.modality not in encoder.modalities:
        raise SettingsError(
            f"{claim.encoder} takes {' and '.join(sorted(encoder.modalities))}, not {claim.items.modality}s"
        )
    with closing(open_store(address, declarations=declarations)) as store:
        place = find_place(store.tables(), encoder.space, claim.place, where=str(address))
    address = with_table(address, place.table)
    items = {} if claim.items is None or claim.items.function else claim.items.to_dict()
    declared = Declaration(encoder.space, place, claim.encoder, items, options=dict(claim.options))
    with closing(open_store(address, declarations=declarations)) as store:
        _require_free(store, declared, str(address))
        inspection, agreement = _checked(address, declared, claim, encoder, check, progress)
        refused = agreement.verdict not in ("agrees", "near", "unchecked")
        written = declare == "always" or (declare == "if it agrees" and not refused)
        if written:
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # said already
                store.adopt(declared)
    return Adoption(str(address), declared, inspection, agreement, refused, written)


def _checked(
    address: StoreUrl,
    declared: Declaration,
    claim: Claim,
    encoder: LazyEncoder,
    check: AdoptionCheck,
    progress: Progress,
) -> tuple[Inspection, Agreement]:
    """What the rows look like, and what a sample says, read as if they were declared already."""
    with closing(open_store(address, declarations=MemoryDocuments())) as trial:
        trial.adopt(declared)
        drawn = RowSample(max(check.sample, 1) * _DRAWN, check.seed)
        inspection = _looked_at(trial, declared, str(address), drawn, progress)
        return inspection, _with_groups(_agreement(trial, claim, encoder, drawn, check, progress), inspection)


def _require_free(store: Store, declared: Declaration, name: str) -> None:
    """Refuse vectors of another model before anything is encoded."""
    for space in store.spaces():
        if space != declared.space and store.declaration(space).place == declared.place:
            raise StoreError(
                f"{name}: these vectors are declared to be of {space}, and cannot be of {declared.space} too"
            )


def _looked_at(store: Store, declared: Declaration, name: str, drawn: RowSample, progress: Progress) -> Inspection:
    where = f"{name} [{declared.space.id}]"
    rows = {table.name: table.rows for table in store.tables()}.get(declared.place.table)
    parts = heard(parts_of_store(store.raw(declared.place, rows=_CHUNK_ROWS)), rows, "rows", progress)
    found = look(where, declared.space, parts, drawn=drawn)
    return replace(found, place=declared.place, encoder=declared.encoder)


def _agreement(
    store: Store, claim: Claim, encoder: LazyEncoder, drawn: RowSample, check: AdoptionCheck, progress: Progress
) -> Agreement:
    if claim.items is None or not check.sample or not len(drawn.ids):
        return Agreement("unchecked", "nothing was checked, since nobody said where the items are")
    order = np.argsort(drawn.draws, kind="stable")
    ids, vectors = drawn.ids[order], drawn.rows[order]
    places: list[str] = []
    items: list[Any] = []
    encoded: list[np.ndarray] = []
    missing: dict[str, str] = {}
    at_once = _BATCH_ROWS[claim.items.modality]
    for start in range(0, len(ids), at_once):
        batch = ids[start : start + min(at_once, check.sample - len(places))].tolist()
        if not batch:
            break
        found = read_items(claim.items, store, encoder.space, batch)
        missing.update(found.missing)
        for name, item, vector in _encoded(encoder, claim.items, found.ids, found.items, missing):
            places.append(name)
            encoded.append(vector)
            items += [item] if claim.items.modality == "text" else []
        progress(len(places), min(check.sample, len(ids)), "rows encoded anew")
    if not places:
        reasons = sorted(set(missing.values()))
        return Agreement("unchecked", f"nothing was checked, since no item could be had: {reasons[0]}", missing=missing)
    row_of = {name: row for row, name in enumerate(ids.tolist())}
    rows = Compared(places, vectors[[row_of[name] for name in places]], np.stack(encoded), encoder.space.metric)
    agreement = replace(judge(rows, check.min_agreement), missing=missing)
    return _with_prompt(agreement, rows, items, encoder, claim)


def _encoded(
    encoder: LazyEncoder, source: ItemSource, ids: Sequence[str], items: list[Any], missing: dict[str, str]
) -> Iterator[tuple[str, Any, np.ndarray]]:
    """Ids, items and their vectors; an item that the encoder cannot use is missing."""
    if not items:
        return
    try:
        yield from zip(ids, items, encoder.encode(items, modality=source.modality), strict=True)
        return
    except InvalidInput as error:
        if len(items) == 1:
            missing[ids[0]] = f"the model cannot use it: {error}"
            return
    for name, item in zip(ids, items, strict=True):
        try:
            yield name, item, encoder.encode([item], modality=source.modality)[0]
        except InvalidInput as error:
            missing[name] = f"the model cannot use it: {error}"


def _with_prompt(
    agreement: Agreement, rows: Compared, texts: list[str], encoder: LazyEncoder, claim: Claim
) -> Agreement:
    """The same, where the rows that do not agree were made with another prompt that is known."""
    odd = np.flatnonzero(rows.cosines < SAME)
    if agreement.verdict == "agrees" or not texts or not len(odd):
        return agreement
    found = prompt_that_agrees(encoder, claim.options, [texts[row] for row in odd], rows.stored[odd])
    if found is None:
        return agreement
    name, words = found
    return replace(
        agreement,
        verdict="another prompt",
        prompt=words,
        sentence=f"{len(odd):,} of {len(rows.ids):,} rows agree with {name}: say document_prompt: {words!r} of the model in a "
        "settings file" + ("" if len(odd) == len(rows.ids) else ", or encode these rows again: the index is mixed"),
    )


def _with_groups(agreement: Agreement, inspection: Inspection) -> Agreement:
    """What the rows alone say, where nothing could be compared."""
    if agreement.checked or not inspection.stranger_ids:
        return agreement
    odd = tuple(OddRow(name, None, None, "foreign") for name in inspection.stranger_ids)
    grouped = next(text for text in inspection.suspicions if "suspected mixing" in text)
    return replace(agreement, verdict="mixed", sentence=f"{agreement.sentence}, but {grouped}", odd=odd)
