"""The models that a job uses: each is loaded when its first vector is asked for, and once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embridge.encoders import PROVIDERS, Encoder, LazyEncoder, provider_of
from embridge.errors import SettingsError
from embridge.progress import Progress, silent
from embridge.scale import Engine
from embridge.settings import VectorsSettings

__all__ = ["Models", "options_of", "takes_images", "with_lora"]


class Models:
    """Encoders by what the settings say of them; the same settings are the same encoder.

    Args:
        progress: Hears how far the encoders are.
        engine: Whose workers encode many texts; this process does where None.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> from embridge.settings import ModelSettings
        >>> old = ModelSettings(encoder=f"clip:{glyph_models.folder('old')}")
        >>> models = Models()
        >>> models.encoder(old) is models.encoder(old)
        True
    """

    def __init__(self, progress: Progress = silent, engine: Engine | None = None) -> None:
        self.engine = engine
        self.progress = self._listener = progress
        self._encoders: dict[tuple[tuple[str, Any], ...], LazyEncoder] = {}

    def encoder(self, model: VectorsSettings) -> LazyEncoder:
        """The encoder that the settings name; raises `SettingsError` for a provider that is not there."""
        assert model.encoder is not None
        options = options_of(model) | {"device": model.device, "batch_size": model.batch_size}
        return self.named(model.encoder, **options)

    def named(self, name: str, **options: Any) -> LazyEncoder:
        """The same by name and options, as `embridge.encoders.load` takes them."""
        key = (("name", name), *sorted(options.items()))
        if key not in self._encoders:
            self._encoders[key] = LazyEncoder(name, progress=self._tell, **options)
        return self._encoders[key]

    @contextmanager
    def heard_by(self, listener: Progress) -> Iterator[None]:
        """Within, ``listener`` hears how far the encoders are."""
        before, self._listener = self._listener, listener
        try:
            yield
        finally:
            self._listener = before

    def _tell(self, done: int, total: int, what: str) -> None:
        self._listener(done, total, what)


def options_of(model: VectorsSettings) -> dict[str, Any]:
    """What the settings say of an encoder beside where and how fast it runs, as `embridge.encoders.load` takes it.

    Args:
        model: Settings that name an encoder.

    Returns:
        The options that are set.

    Examples:
        >>> from embridge.settings import ModelSettings
        >>> options_of(ModelSettings(encoder="sentence-transformers:models/old", document_prompt="passage: "))
        {'document_prompt': 'passage: '}
    """
    assert model.encoder is not None
    options = {key: getattr(model, key, None) for key in ("revision", *provider_of(model.encoder).options)}
    return {key: value for key, value in options.items() if value is not None}


def with_lora(encoder: LazyEncoder, lora: Path | None) -> Encoder:
    """The encoder with the LoRA of an upgrade; its weights are loaded no second time.

    Args:
        encoder: The encoder, loaded or not.
        lora: The LoRA's folder, or None.

    Returns:
        The encoder with it; as it is where there is none.

    Raises:
        SettingsError: The encoder takes no LoRA.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> encoder = LazyEncoder(f"clip:{glyph_models.folder('old')}")
        >>> with_lora(encoder, None) is encoder
        True
    """
    if lora is None:
        return encoder
    if not encoder.provider.takes_lora:
        able = " and ".join(f"{name}:MODEL" for name, provider in PROVIDERS.items() if provider.takes_lora)
        raise SettingsError(f"this upgrade is of a model with a LoRA, which only {able} takes; came {encoder.name}")
    model: Any = encoder.loaded()
    attached: Encoder = model.with_lora(lora)
    return attached


def takes_images(model: VectorsSettings) -> bool:
    """Whether the settings name an encoder that takes images; nothing is loaded.

    Args:
        model: Settings of a model.

    Returns:
        Whether it takes images; False where the settings name files of vectors.

    Examples:
        >>> from embridge.settings import ModelSettings
        >>> takes_images(ModelSettings(encoder="clip:models/new"))
        True
    """
    return model.encoder is not None and "image" in provider_of(model.encoder).modalities
