"""An encoder whose weights are loaded when the first vector is asked for, and once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from typing import Any, final

import numpy as np

from embridge.encoders.base import Encoder, Modality, Role
from embridge.encoders.providers import load, provider_of
from embridge.shapes import Float32
from embridge.space import Space, require_same

__all__ = ["LazyEncoder"]


@final
class LazyEncoder:
    """An encoder by name, loaded when it is needed.

    Its modalities are known from its provider. Its space is read from the model's files where they say it, so that whoever
    finds all vectors in a cache never loads the weights.

    Args:
        name: PROVIDER:MODEL, as `load` takes it.
        **options: As for `load`.

    Raises:
        SettingsError: There is no such provider.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> encoder = LazyEncoder(f"clip:{glyph_models.folder('old')}")
        >>> encoder.space.dim, encoder.is_loaded
        (64, False)
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.name, self.provider, self._options = name, provider_of(name), options
        self.modalities: frozenset[Modality] = self.provider.modalities
        self._encoder: Encoder | None = None
        self._space: Space | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._encoder is not None

    @property
    def options(self) -> dict[str, Any]:
        """With what `load` makes the same encoder elsewhere, where nobody hears how far it is."""
        return {key: value for key, value in self._options.items() if key != "progress"}

    @property
    def space(self) -> Space:
        """The space of the vectors: from the model's files, or of the loaded model where these do not say."""
        if self._space is None:
            self._space = self._space_from_files() or self.loaded().space
        return self._space

    def loaded(self) -> Encoder:
        """The encoder itself, with its weights in memory."""
        if self._encoder is None:
            self._encoder = load(self.name, **self._options)
            if self._space is not None:  # what was read from the files: they may have been replaced since
                require_same(self._space, self._encoder.space, what=f"{self.name}, whose files have changed")
        return self._encoder

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of the items (see `Encoder.encode`)."""
        return self.loaded().encode(items, modality=modality, role=role)

    def _space_from_files(self) -> Space | None:
        function = self.provider.space_from_files
        if self._encoder is not None or not function:
            return None
        tell = getattr(import_module(self.provider.module), function)
        options = {key: self._options[key] for key in ("revision", "lora") if key in self._options}
        if not options.keys() <= signature(tell).parameters.keys():
            return None  # what its encoders do not take, `load` refuses
        space: Space | None = tell(self.name.partition(":")[2], **options)
        return space
