"""What is fitted or chosen by is kept apart from what is reported: texts, images and ids, whoever says what is right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from embridge.datasets.image_text import ImageTextPairs
from embridge.errors import SettingsError
from embridge.evaluation import Relevance
from embridge.jobs._judgements import Judgements

__all__ = ["require_apart", "require_other_queries"]


def require_apart(pairs: ImageTextPairs, judgements: Judgements, *, names: tuple[str, str], why: str) -> None:
    """Raise `SettingsError` where what is judged has a text or an image of these pairs too.

    A text is the same with other space around its words, and an image under another path or name. names: of both in the
    settings, these pairs first; why: what would come of it.
    """
    texts = set(map(_plain, _texts(judgements)))
    shared = {
        "texts": [text for text in dict.fromkeys(pairs.captions) if _plain(text) in texts],
        "images": _shared_images(map(Path, pairs.images), _images(judgements)),
    }
    _refuse(shared, names, why)


def require_other_queries(judged: Judgements, reported: Judgements, *, names: tuple[str, str], why: str) -> None:
    """Raise `SettingsError` where queries of the one are queries of the other, by text, by id or, of labels, by image."""
    queries = {_plain(query) for query in _queries(reported)}
    shared = {"queries": [query for query in dict.fromkeys(_queries(judged)) if _plain(query) in queries]}
    if judged.labelled or reported.labelled:
        shared["images"] = _shared_images(_images(judged), _images(reported))
    _refuse(shared, names, why)


def _refuse(shared: Mapping[str, list[str]], names: tuple[str, str], why: str) -> None:
    for what, both in shared.items():
        if both:
            raise SettingsError(
                f"{' and '.join(names)} share {len(both)} {what}, first {both[0]!r}: {why}; keep them apart"
            )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _queries(judgements: Judgements) -> list[str]:
    """Texts where there are any, else ids."""
    if judgements.texts:
        return list(judgements.texts.values())
    if judgements.labelled:
        return list(judgements.labelled)
    relevance = judgements.relevance
    return judgements.queries or (list(relevance.gains) if isinstance(relevance, Relevance) else [])


def _texts(judgements: Judgements) -> list[str]:
    items = [] if judgements.cross_modal else judgements.items
    return [*judgements.queries, *items, *judgements.texts.values()]


def _images(judgements: Judgements) -> list[Path]:
    """The images that are judged; none where judgements are of texts or of ids alone."""
    if judgements.folder is None or judgements.texts:
        return []
    names = judgements.items if judgements.cross_modal else judgements.labelled
    return [judgements.folder / name for name in names]


def _shared_images(images: Iterable[Path], others: Iterable[Path]) -> list[str]:
    """Those of the images that are among the others, by path or by content; only files of one size are read."""
    paths = {path.resolve() for path in others}
    sizes: dict[int, list[Path]] = {}
    for path in paths:
        if path.is_file():
            sizes.setdefault(path.stat().st_size, []).append(path)
    hashes: dict[int, set[str]] = {}
    shared = []
    for image in dict.fromkeys(images):
        path = image.resolve()
        size = path.stat().st_size if path.is_file() else -1
        if path not in paths and size in sizes:
            known = hashes.setdefault(size, {_digest(other) for other in sizes[size]})
            if _digest(path) not in known:
                continue
        elif path not in paths:
            continue
        shared.append(str(image))
    return shared


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
