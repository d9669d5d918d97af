"""Upgrades for where this library does not run: as ONNX, or folded into the new model itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError, WrongDirection
from embridge.export._affine import affine_stages, one_matrix
from embridge.export.onnx import to_onnx

__all__ = ["FOLD_TARGETS", "FoldTarget", "fold", "foldable_into", "query_path", "to_onnx"]


@dataclass(frozen=True, slots=True)
class FoldTarget:
    """What can be folded into the models of a provider.

    Attributes:
        module: The module to import.
        attribute: The function in it that folds.
        bias: Its models have room for a bias, and for several maps in a row.

    Examples:
        >>> FOLD_TARGETS["clip"].bias
        False
    """

    module: str
    attribute: str
    bias: bool


FOLD_TARGETS: dict[str, FoldTarget] = {
    "clip": FoldTarget("embridge.export.clip", "fold_clip", bias=False),
    "sentence-transformers": FoldTarget(
        "embridge.export.sentence_transformers", "fold_sentence_transformer", bias=True
    ),
}


def query_path(upgrade: Upgrade) -> Adapter:
    """Head, then bridge, as one adapter: what makes queries of the new model into queries of the old index.

    Args:
        upgrade: A backward upgrade.

    Returns:
        The bridge alone where the head changes nothing.

    Raises:
        WrongDirection: It is a forward upgrade, whose queries go as the head makes them.

    Examples:
        >>> from embridge import Provenance, Space
        >>> from embridge.adapters import Prefix
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
    """Fold the bridge into an encoder; see `fold_clip` and `fold_sentence_transformer`.

    Args:
        bridge: From the encoder's space to one that compares by cosine.
        encoder: The encoder, PROVIDER:MODEL, as `embridge.encoders.load` takes it.
        out: The folder to write.

    Returns:
        The folder.

    Raises:
        SettingsError: The provider's models cannot be folded into, or the bridge cannot be folded.
        SpaceMismatch: The bridge is of another model.

    Examples:
        >>> from embridge.adapters import Prefix
        >>> from embridge import Space
        >>> fold(Prefix(Space("new", "1", 3), Space("old", "1", 2)), "http:model@https://example.org", "folded")
        Traceback (most recent call last):
        embridge.errors.SettingsError: a bridge is folded into an encoder named PROVIDER:MODEL with PROVIDER one of clip, ...
    """
    provider, _, model = encoder.partition(":")
    if provider not in FOLD_TARGETS or not model:
        raise SettingsError(
            f"a bridge is folded into an encoder named PROVIDER:MODEL with PROVIDER one of {', '.join(FOLD_TARGETS)}; "
            f"came {encoder!r}"
        )
    target = FOLD_TARGETS[provider]
    folder: Path = getattr(import_module(target.module), target.attribute)(bridge, model, out)
    return folder


def foldable_into(upgrade: Upgrade) -> tuple[str, ...]:
    """The providers into whose models the bridge can be folded.

    Args:
        upgrade: Any upgrade.

    Returns:
        Their names; none for a forward bridge, one that is not affine, and one of a model with a LoRA.

    Examples:
        >>> from embridge import Provenance, Space
        >>> from embridge.adapters import Prefix
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> foldable_into(Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")))
        ('clip', 'sentence-transformers')
    """
    found: list[str] = []
    if upgrade.lora is not None:  # the bridge is of the model with the LoRA, and the one folded into has none
        return ()
    for provider, target in FOLD_TARGETS.items():
        try:
            path = query_path(upgrade)
            _ = affine_stages(path) if target.bias else one_matrix(path)
        except (SettingsError, WrongDirection):
            continue
        found.append(provider)
    return tuple(found)
