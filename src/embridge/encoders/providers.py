"""Which providers of encoders there are, what each can do, and `load`, which imports only the one asked for."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

from embridge.encoders._http_name import parsed_name, without_secrets
from embridge.encoders.base import Encoder, Modality
from embridge.errors import SettingsError

__all__ = ["PROVIDERS", "Provider", "load", "provider_of"]


@dataclass(frozen=True, slots=True)
class Provider:
    """What can be known of a provider's encoders before one is loaded.

    Attributes:
        module: Where its class is; imported when an encoder is loaded.
        attribute: The name of that class.
        extra: The extra of embridge that its libraries come with.
        modalities: What its encoders take.
        called: What people call such a model.
        takes_lora: Whether a LoRA in peft's format can be attached, and trained.
        over_http: Whether the model runs elsewhere, so that its name is no folder, and it has a key and a dim.
        only_folders: Whether a model is always a folder on this machine, never an id on a hub.
        takes_weight_files: Whether a name may be ARCHITECTURE:FILE.
        options: What a settings file may say of its encoders beside device, batch_size and revision.
        settings: The argument of its class, and the class in its module, that hold several options; None where it has none.
        space_from_files: A function of its module that tells the space without loading weights; empty where there is none.

    Examples:
        >>> [name for name, provider in PROVIDERS.items() if provider.takes_lora]
        ['clip']
    """

    module: str
    attribute: str
    extra: str
    modalities: frozenset[Modality]
    called: str
    takes_lora: bool = False
    over_http: bool = False
    only_folders: bool = False
    takes_weight_files: bool = False
    options: tuple[str, ...] = ()
    space_from_files: str = ""
    settings: tuple[str, str] | None = None

    def grouped(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options as the class takes them: those of its record of settings, where it has one, together."""
        if not self.settings:
            return options
        argument, kind = self.settings[0], getattr(import_module(self.module), self.settings[1])
        together = {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
        return options | ({argument: kind(**together)} if together else {})

    def encoder_class(self) -> Any:
        """The class of its encoders; raises `MissingExtra` where a library is not installed."""
        return getattr(import_module(self.module), self.attribute)


_TEXT, _BOTH, _IMAGE = (
    frozenset[Modality]({"text"}),
    frozenset[Modality]({"text", "image"}),
    frozenset[Modality]({"image"}),
)

PROVIDERS: dict[str, Provider] = {
    "clip": Provider(
        "embridge.encoders.clip",
        "ClipEncoder",
        "clip",
        _BOTH,
        "a CLIP",
        takes_lora=True,
        space_from_files="space_from_files",
    ),
    "http": Provider(
        "embridge.encoders.http",
        "HttpEncoder",
        "http",
        _TEXT,
        "a model behind HTTP",
        over_http=True,
        options=("key_variable", "dim", "query_prompt", "document_prompt"),
        settings=("service", "Service"),
    ),
    "open_clip": Provider(
        "embridge.encoders.open_clip",
        "OpenClipEncoder",
        "open-clip",
        _BOTH,
        "an open_clip model",
        takes_weight_files=True,
    ),
    "sentence-transformers": Provider(
        "embridge.encoders.sentence_transformers",
        "SentenceTransformerEncoder",
        "text",
        _TEXT,
        "a sentence model",
        options=("query_prompt", "document_prompt", "pooling", "metric"),
        settings=("card", "CardSettings"),
    ),
    "trained": Provider(
        "embridge.encoders.trained",
        "TrainedEncoder",
        "train",
        _IMAGE,
        "a model of embridge train",
        only_folders=True,
        space_from_files="space_from_files",
    ),
}


def provider_of(name: str) -> Provider:
    """The provider of an encoder that is named PROVIDER:MODEL.

    Args:
        name: The encoder's name.

    Returns:
        Its record.

    Raises:
        SettingsError: The name has no such form, or there is no such provider.

    Examples:
        >>> sorted(provider_of("clip:openai/clip-vit-base-patch32").modalities)
        ['image', 'text']
    """
    provider, colon, model = name.partition(":")
    if not colon or not model or provider not in PROVIDERS:
        raise SettingsError(
            f"an encoder is named PROVIDER:MODEL with PROVIDER one of {', '.join(PROVIDERS)}; came {without_secrets(name)!r}"
        )
    if PROVIDERS[provider].over_http:
        parsed_name(model)  # refuses a URL that may hold a secret before anything repeats it
    return PROVIDERS[provider]


def load(name: str, **options: Any) -> Encoder:
    """Load an encoder by its name, PROVIDER:MODEL.

    There are ``clip:FOLDER_OR_HUB_ID``, ``open_clip:FOLDER_OR_HUB_ID``, ``open_clip:ARCHITECTURE:TAG_OR_FILE``,
    ``sentence-transformers:FOLDER_OR_HUB_ID``, ``trained:FOLDER`` (of this library's own training) and
    ``http:MODEL@URL``.

    Args:
        name: The encoder's name.
        **options: What the encoder's class takes, such as device, batch_size, revision and progress.

    Returns:
        The encoder, with its weights in memory.

    Raises:
        SettingsError: The name has no such form, there is no such provider, or it takes no such option.
        MissingExtra: A library of the provider is not installed.
        InvalidInput: The model cannot be found or used.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> load(f"clip:{glyph_models.folder('old')}").space.dim
        64
    """
    provider, model = provider_of(name), name.partition(":")[2]
    kind, options = provider.encoder_class(), provider.grouped(options)
    unknown = sorted(options.keys() - inspect.signature(kind).parameters.keys())
    if unknown:
        raise SettingsError(f"{name}: {provider.called} takes no {', '.join(unknown)}")
    encoder: Encoder = kind(model, **options)
    return encoder
