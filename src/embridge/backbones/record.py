"""What a backbone takes and needs, as data: one record beside each name in the table of backbones."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

__all__ = ["BackboneRecord", "Takes"]

Takes = Literal["images", "vectors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRecord:
    """Where a backbone is, and what can be known of it before one is made.

    Attributes:
        module: The module to import.
        attribute: The class in it.
        takes: ``images``, or ``vectors`` of a frozen model.
        settings: Its own settings, by which a settings file may change it.
        from_folder: It begins with the weights of a model in a folder, and has no settings.
        extra: The extra of embridge that its libraries come with.
        packages: Those libraries; a provenance names their versions.

    Examples:
        >>> BackboneRecord(module="embridge.backbones.vectors", attribute="VectorHead", takes="vectors").load().kind
        'vector-head'
    """

    module: str
    attribute: str
    takes: Takes
    settings: tuple[str, ...] = ()
    from_folder: bool = False
    extra: str = "train"
    packages: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import the class.

        Returns:
            A subclass of `Backbone`.
        """
        return getattr(import_module(self.module), self.attribute)
