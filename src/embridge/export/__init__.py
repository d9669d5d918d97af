"""Upgrades for where this library does not run: as ONNX, or folded into the new model itself."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError, WrongDirection
from embridge.export.affine import affine_stages, one_matrix
from embridge.export.onnx import to_onnx

__all__ = ["FOLDERS", "fold", "foldable_into", "query_path", "to_onnx"]

FOLDERS: dict[str, tuple[str, str]] = {
    "clip": ("embridge.export.clip", "fold_clip"),
    "sentence-transformers": ("embridge.export.sentence_transformers", "fold_sentence_transformer"),
}


def query_path(upgrade: Upgrade) -> Adapter:
    """Head, then bridge, as one adapter: what makes queries of the new model into queries of the old index.

    Raises `WrongDirection` for a forward upgrade, whose queries go as the head makes them.

    >>> from embridge import Space
    >>> from embridge.adapters import Prefix, Provenance
    >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
    >>> query_path(Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))).kind
    'prefix'
    """
    if upgrade.direction == "forward":
        raise WrongDirection(
            "this is a forward upgrade: its bridge maps the stored gallery, not queries. Write the bridge itself with "
            "embridge.export.to_onnx(upgrade.bridge, FILE)"
        )
    if isinstance(upgrade.head, Identity) and upgrade.head.source == upgrade.head.target:
        return upgrade.bridge
    return Composed([upgrade.head, upgrade.bridge])


def fold(bridge: Adapter, encoder: str, out: Path | str) -> Path:
    """Fold the bridge into an encoder named as `embridge.encoders.load` takes it; see `fold_clip` and its sibling.

    Raises `SettingsError` for a provider whose models cannot be folded into.
    """
    provider, _, model = encoder.partition(":")
    if provider not in FOLDERS or not model:
        raise SettingsError(
            f"a bridge is folded into an encoder named PROVIDER:MODEL with PROVIDER one of {', '.join(FOLDERS)}; "
            f"came {encoder!r}"
        )
    module, function = FOLDERS[provider]
    folder: Path = getattr(import_module(module), function)(bridge, model, out)
    return folder


def foldable_into(upgrade: Upgrade) -> tuple[str, ...]:
    """The providers into whose models the bridge can be folded: a CLIP takes no bias, a forward bridge goes nowhere.

    >>> from embridge import Space
    >>> from embridge.adapters import Prefix, Provenance
    >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
    >>> foldable_into(Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")))
    ('clip', 'sentence-transformers')
    """
    found: list[str] = []
    if upgrade.lora is not None:  # the bridge is of the model with the LoRA, and the one folded into has none
        return ()
    for provider, check in {"clip": one_matrix, "sentence-transformers": affine_stages}.items():
        try:
            check(query_path(upgrade))
        except (SettingsError, WrongDirection):
            continue
        found.append(provider)
    return tuple(found)
