"""One YAML file says what is served: which upgrade, which store, to whom, and up to which limits."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from embridge.settings.models import ModelSettings
from embridge.settings.reading import Strict, checked_settings, read_settings, require_files
from embridge.stores import parse_url

__all__ = ["LimitSettings", "ServeSettings", "is_loopback", "load_serve_settings"]


class LimitSettings(Strict):
    """Up to what a request is answered.

    Attributes:
        body_bytes: Of a request.
        inputs: Texts or images of a request.
        characters: Of a text.
        image_pixels: Of an image, looked at before it is decoded.
        pixels: Of all images that requests hold at once; one alone has status 400 beyond them, several have 503.
        hits: That a query may ask for.
        seconds: Of a request, from its headers to the answer's last byte.
        header_seconds: Until a connection has sent its headers.
        connections: Open at once in a worker; a request beyond them gets status 503.
        waiting: Items that wait for a model at once; a request beyond them gets status 503.

    Examples:
        >>> LimitSettings().inputs
        2048
    """

    body_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    inputs: int = Field(2048, ge=1)
    characters: int = Field(100_000, ge=1)
    image_pixels: int = Field(40_000_000, ge=1)
    pixels: int = Field(400_000_000, ge=1)
    hits: int = Field(1_000, ge=1)
    seconds: float = Field(60.0, gt=0, le=86_400)
    header_seconds: float = Field(10.0, gt=0, le=86_400)
    connections: int = Field(2_000, ge=1)
    waiting: int = Field(16_384, ge=1)


class ServeSettings(Strict):
    """What ``embridge serve`` serves.

    Attributes:
        upgrade: The folder of the upgrade.
        new: The new model, if it is not the one that the upgrade was fitted with.
        old: The old model, where it is to answer too; the one that the upgrade was fitted with where its files are there.
        new_name: What clients call the new model; its own name where None.
        old_name: What clients call the old model, likewise.
        store: The store's URL, where searches and writes are to be served.
        declarations: A file of declarations, in place of those in the database.
        connections: How many connections to the store a worker opens.
        rollout: The settings file of the rollout, for the dashboard's buttons.
        host: Where it listens; without keys on this machine alone.
        port: Of that.
        workers: Processes, each with its own models.
        keys: A file with a key a line, one of which every request has to bring.
        keys_variable: An environment variable with such keys, with commas between them.
        operator_keys: A file with a key a line, for what changes the rollout.
        batch_items: Texts or images of waiting requests that a model gets at once.
        too_long: What happens to a text that is longer than the model takes: it is refused, or cut as the model does.
        limits: Up to what a request is answered.

    Examples:
        >>> ServeSettings(upgrade="upgrade").port
        8000
    """

    upgrade: Path
    new: ModelSettings | None = None
    old: ModelSettings | None = None
    new_name: str | None = Field(None, pattern=r"^[^\s@:]+$")
    old_name: str | None = Field(None, pattern=r"^[^\s@:]+$")
    store: str | None = Field(None, repr=False)  # it may hold a password
    declarations: Path | None = None
    connections: int = Field(1, ge=1, le=64)
    rollout: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    workers: int = Field(1, ge=1, le=64)
    keys: Path | None = None
    keys_variable: str | None = None
    operator_keys: Path | None = None
    batch_items: int = Field(256, ge=1)
    too_long: Literal["refuse", "cut"] = "refuse"
    limits: LimitSettings = LimitSettings.model_validate({})

    @field_validator("store")
    @classmethod
    def _is_url(cls, value: Any) -> Any:
        if value is not None:
            parse_url(value)
        return value

    @model_validator(mode="after")
    def _fits(self) -> ServeSettings:
        if self.keys is None and self.keys_variable is None and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host}: without keys it listens on this machine alone (127.0.0.1); name a file of keys in keys, "
                "or an environment variable in keys_variable"
            )
        if self.rollout is not None and self.store is None:
            raise ValueError("rollout: the dashboard moves the rollout of a store; name it in store")
        return self


def load_serve_settings(path: Path | str, **instead: Any) -> ServeSettings:
    """Read what is to be served.

    Args:
        path: The YAML file. Paths in it count from its folder, that of the store too.
        **instead: Values in place of the file's; None leaves the file's.

    Returns:
        The settings.

    Raises:
        SettingsError: The file does not say what it must, or names a file that is not there.

    Examples:
        >>> _ = Path("serve.yaml").write_text("upgrade: .\\nport: 8080\\n")
        >>> load_serve_settings("serve.yaml").port
        8080
    """
    settings = read_settings(path, ServeSettings)
    given = {key: value for key, value in instead.items() if value is not None}
    if given:
        settings = checked_settings(settings.model_dump() | given, ServeSettings, folder=Path(), where=str(path))
    require_files(settings, "upgrade", "keys", "operator_keys", "rollout", "declarations")
    return settings


def is_loopback(host: str) -> bool:
    """Whether a server that listens there is reached from this machine alone.

    Args:
        host: A name or an address.

    Returns:
        Whether it is.

    Examples:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
