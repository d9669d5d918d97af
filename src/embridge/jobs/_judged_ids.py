"""Whether judgements are of what the files of vectors hold, looked up before any fitting."""

from __future__ import annotations

from embridge._plain_text import spelling_hint
from embridge.errors import InvalidInput
from embridge.evaluation import Relevance
from embridge.jobs._judgements import Judgements
from embridge.settings import ModelSettings, Settings
from embridge.vector_files import read_vectors

__all__ = ["require_judged_ids"]

_LARGEST_BYTES = 1 << 31  # of a file that is read for its ids alone; larger ones are looked up when they are searched


def require_judged_ids(settings: Settings, judgements: Judgements | None) -> None:
    """Raise `InvalidInput` where a file of queries or of the gallery has none of the judged ids, or lacks one of a pair's."""
    relevance = None if judgements is None else judgements.relevance
    if judgements is None or not isinstance(relevance, Relevance):
        return
    items = dict.fromkeys(item for gains in relevance.gains.values() for item in gains)
    judged = {"queries": judgements.queries or [*relevance.gains], "gallery": judgements.items or [*items]}
    for side, model in (("old", settings.old), ("new", settings.new)):
        for key, names in judged.items():
            ids = _ids(model, key)
            missing = [] if ids is None else [name for name in names if name not in ids]
            if len(missing) == len(names) or (missing and judgements.queries):
                raise InvalidInput(
                    f"{getattr(model, key)} ({side}.{key}) lacks {len(missing)} of {len(names)} ids that are judged, first "
                    f"{missing[0]!r}{spelling_hint(missing, ids or ()) or '; are the ids those of the judgements?'}"
                )


def _ids(model: ModelSettings, key: str) -> frozenset[str] | None:
    """The ids of a file; None where a model encodes, or where the file is not there yet or large."""
    path = getattr(model, key)
    if model.encoder is not None or path is None or not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
        return None
    space = None if model.space is None else model.space.to_space()
    return frozenset(read_vectors(path, space=space, cast=model.cast, columns=model.columns_of(key)).ids)
