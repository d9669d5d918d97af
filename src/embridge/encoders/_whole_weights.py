"""A model whose weights are not all in its files is refused: the libraries would fill in random numbers, or leave some out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from embridge.errors import InvalidInput, require

__all__ = ["recorded_loading", "require_whole"]

_BUFFERS = re.compile(r"(^|\.)(position_ids|inv_freq|num_batches_tracked)$")  # counted from nothing, never learnt
_NAMED = 3


def require_whole(source: str, model: Any, loading: Mapping[str, Any], *, unused: tuple[str, ...] = ()) -> None:
    """Raise `InvalidInput` where weights were missing, left over or of another shape when a model was loaded.

    loading: as ``from_pretrained`` gives it with ``output_loading_info``. unused: beginnings of the names of weights that
    no vector is made with. Left over may be what the files' own architecture has around this model, such as the head of a
    masked language model.
    """
    mismatched = [str(one[0] if isinstance(one, (tuple, list)) else one) for one in loading.get("mismatched_keys", ())]
    missing = [key for key in loading["missing_keys"] if not key.startswith(unused) and not _BUFFERS.search(key)]
    if mismatched:
        raise InvalidInput(
            f"{source}: {_some(mismatched)} of another shape than config.json says; they would be random numbers. Take "
            "config and weights of one model"
        )
    if missing:
        raise InvalidInput(
            f"{source} lacks {len(missing)} of its model's weights, for instance {_few(missing)}; they would be random "
            "numbers; get the complete checkpoint"
        )
    left_over = [key for key in loading["unexpected_keys"] if not _BUFFERS.search(key)]
    if left_over:
        around = _names_around(model)
        left_over = [key for key in left_over if key.partition(".")[0] not in around]
    if left_over:
        raise InvalidInput(
            f"{source}: {_some(left_over)} unknown to the model that config.json describes, and would be left out. Take "
            "config and weights of one model"
        )


@contextmanager
def recorded_loading() -> Iterator[list[tuple[Any, Mapping[str, Any]]]]:
    """Within, every model that transformers loads is listed, with what was missing: for libraries that do not pass it on."""
    base = require("transformers", extra="text").PreTrainedModel
    plain, loaded = base.__dict__["from_pretrained"], list[tuple[Any, Mapping[str, Any]]]()
    base.from_pretrained = classmethod(_recording(plain.__func__, loaded))
    try:
        yield loaded
    finally:
        base.from_pretrained = plain


def _recording(load: Callable[..., Any], loaded: list[tuple[Any, Mapping[str, Any]]]) -> Callable[..., Any]:
    def from_pretrained(kind: Any, *args: Any, output_loading_info: bool = False, **options: Any) -> Any:
        model, loading = load(kind, *args, output_loading_info=True, **options)
        loaded.append((model, loading))
        return (model, loading) if output_loading_info else model

    return from_pretrained


def _names_around(model: Any) -> set[str]:
    """What the architecture of the files has beside the model itself: a head, a decoder."""
    torch, transformers = require("torch", extra="clip"), require("transformers", extra="clip")
    names = set[str]()
    for architecture in model.config.architectures or ():
        kind = getattr(transformers, architecture, None)
        if kind is None or isinstance(model, kind):
            continue
        with suppress(Exception), torch.device("meta"):  # where it does not take this config, nothing is known of it
            names |= {name for name, _ in kind(model.config).named_children()} - {kind.base_model_prefix}
    return names - {name for name, _ in model.named_children()}


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    return f"{len(keys)} weights ({_few(keys)}) are" if len(keys) > 1 else f"the weight {keys[0]} is"


def _few(keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    return ", ".join(ordered[:_NAMED]) + (" …" if len(ordered) > _NAMED else "")
