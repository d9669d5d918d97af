"""Networks that end in the features of an objective, and what a trained one is saved and loaded as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embridge.backbones.record import BackboneRecord, Takes
from embridge.errors import SettingsError

if TYPE_CHECKING:  # torch takes seconds to import
    from embridge.backbones.base import Backbone

__all__ = ["BACKBONES", "BackboneRecord", "default_backbone", "make_backbone"]

BACKBONES: dict[str, BackboneRecord] = {
    "small-resnet": BackboneRecord(
        module="embridge.backbones.resnet", attribute="SmallResNet", takes="images", settings=("width", "depth")
    ),
    "vision": BackboneRecord(
        module="embridge.backbones.vision",
        attribute="VisionBackbone",
        takes="images",
        from_folder=True,
        extra="clip",
        packages=("transformers",),
    ),
    "vector-head": BackboneRecord(
        module="embridge.backbones.vectors", attribute="VectorHead", takes="vectors", settings=("hidden_width",)
    ),
}


def default_backbone(takes: Takes) -> str:
    """Name the backbone that is taken where none is asked for: the first of the table that takes such items.

    Args:
        takes: ``images`` or ``vectors``.

    Returns:
        Its name.

    Examples:
        >>> default_backbone("images"), default_backbone("vectors")
        ('small-resnet', 'vector-head')
    """
    return next(name for name, record in BACKBONES.items() if record.takes == takes)


def make_backbone(
    name: str,
    feature_dim: int,
    *,
    settings: Mapping[str, Any] | None = None,
    folder: Path | str | None = None,
    source_dim: int | None = None,
    seed: int = 0,
) -> Backbone:
    """Make the backbone of a name.

    Args:
        name: One of `BACKBONES`.
        feature_dim: The dims of its features, as an objective asks for them.
        settings: Its own settings.
        folder: Of the model whose weights it begins with, where its record says ``from_folder``.
        source_dim: The dims of the vectors that it takes, where it takes vectors.
        seed: The weights that are not read are drawn from it.

    Returns:
        The network, its weights drawn or read.

    Raises:
        SettingsError: There is no such backbone, or it has no such setting.
        MissingExtra: A library that it needs is not installed.
        InvalidInput: The model in the folder cannot be read.

    Examples:
        >>> make_backbone("small-resnet", 6, settings={"width": 4, "depth": 8}).config()
        {'feature_dim': 6, 'width': 4, 'depth': 8}
    """
    if name not in BACKBONES:
        raise SettingsError(f"a backbone is one of {', '.join(BACKBONES)}; came {name!r}")
    record, options = BACKBONES[name], settings or {}
    unknown = sorted(options.keys() - set(record.settings))
    if unknown:
        raise SettingsError(f"{name} has no setting {', '.join(unknown)}; it has {list(record.settings)}")
    kind = record.load()
    backbone: Backbone
    if record.from_folder:
        backbone = kind.from_folder(folder, feature_dim, seed=seed)
    elif record.takes == "vectors":
        backbone = kind(source_dim, feature_dim, **options, seed=seed)
    else:
        backbone = kind(feature_dim, **options, seed=seed)
    return backbone
