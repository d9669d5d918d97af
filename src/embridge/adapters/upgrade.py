"""Upgrade: the artefact in which every method ends."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from safetensors.numpy import save_file as save_tensors

from embridge._plain_text import markdown_text, one_line
from embridge.adapters._companions import CARD, REPORT, card_with, hashes_of
from embridge.adapters._hub import fetch_folder, push_folder
from embridge.adapters._upgrade_files import (
    LORA,
    MANIFEST,
    OWN_FILES,
    SCHEMA,
    WEIGHTS,
    companions_to_keep,
    fingerprint,
    read_manifest,
    read_weights,
    seal,
    weights_hash,
)
from embridge.adapters.base import Adapter
from embridge.adapters.composed import adapter_from_parts, adapter_to_config
from embridge.adapters.linear import Identity
from embridge.adapters.lora_folder import check_lora, copy_lora
from embridge.atomic_write import atomic_folder, whole_folder
from embridge.embeddings import Embeddings
from embridge.errors import ArtefactError, EmbridgeError, WrongDirection
from embridge.provenance import Provenance
from embridge.space import Space, require_same

__all__ = ["MANIFEST", "OWN_FILES", "SCHEMA", "Direction", "Upgrade", "companions_to_keep", "fingerprint", "seal"]

Direction = Literal["backward", "forward"]


@dataclass(frozen=True, slots=True, eq=False)
class Upgrade:
    """The artefact: ``head`` makes what is written from now on; ``bridge`` makes the two sides comparable.

    Attributes:
        head: From what the new encoder gives to what is written.
        bridge: Between the new side and the old one, in the direction that ``direction`` says.
        provenance: How it came about.
        direction: ``backward``: the bridge maps new vectors (queries, and items not re-embedded) into the old space, and the
            stored gallery stays as it is. ``forward``: it maps stored old vectors into the new space.
        uncertainty: Maps what the bridge takes to one number a vector, the log of the squared error to expect; items are best
            backfilled from the highest on.
        lora: The folder of a LoRA in peft's format, where the upgrade is of a model with one attached
            (``embridge.load_encoder(name, lora=upgrade.lora)``). `save` copies it into the artefact.

    Raises:
        ArtefactError: The direction is unknown.
        SpaceMismatch: Head, bridge and uncertainty do not meet in one space.

    Examples:
        >>> from embridge.adapters.linear import Identity
        >>> from embridge.adapters.prefix import Prefix
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> query = Embeddings.of(np.array([[0.0, 2.0, 5.0]], np.float32), new)
        >>> upgrade.to_index_space(query).space == old
        True
    """

    head: Adapter
    bridge: Adapter
    provenance: Provenance
    direction: Direction = "backward"
    uncertainty: Adapter | None = None
    lora: Path | None = None
    _direct: bool = field(init=False, repr=False)  # queries go through the bridge alone, and cannot be old vectors

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            raise ArtefactError(f"direction is one of {get_args(Direction)}, not {self.direction!r}")
        joined = self.bridge.source if self.direction == "backward" else self.bridge.target
        require_same(self.head.target, joined, what=f"the new side of a {self.direction} bridge")
        if self.uncertainty is not None:
            require_same(self.bridge.source, self.uncertainty.source, what="what the uncertainty is of")
        direct = self.direction == "backward" and type(self.head) is Identity and self.head.target == self.head.source
        object.__setattr__(self, "_direct", direct and self.head.source != self.bridge.target)

    @property
    def new_space(self) -> Space:
        """What the new encoder gives."""
        return self.head.source

    @property
    def old_space(self) -> Space:
        """What the stored gallery holds."""
        return self.bridge.target if self.direction == "backward" else self.bridge.source

    def to_index_space(self, queries: Embeddings) -> Embeddings:
        """Map new-model queries to vectors that the untouched old index understands.

        Args:
            queries: Vectors of the new model.

        Returns:
            Vectors of the old space.

        Raises:
            WrongDirection: The upgrade is a forward one, or the vectors are in the old space already.
            SpaceMismatch: They are of any third space.
        """
        bridge, new = self.bridge, self.head.source
        if self._direct and (queries.space is new or queries.space == new):  # what most queries are
            return queries.with_vectors(bridge.apply(queries.vectors), bridge.target, known_finite=bridge.bounded)
        if self.direction == "forward":
            raise WrongDirection(
                "this is a forward upgrade: it maps the stored gallery into the new space, not queries into the old "
                "one. Map the gallery with upgrade.bridge, or fit a backward method"
            )
        if queries.space == self.old_space:
            raise WrongDirection(
                f"these vectors are of the old model already ({self.old_space}) and search its index as they are; "
                f"the upgrade takes vectors of {self.new_space}"
            )
        require_same(new, queries.space, what="queries for this upgrade")
        return bridge(self.head(queries))

    def save(self, path: Path | str, *, report: Mapping[str, Any] | None = None, card: str | None = None) -> Path:
        """Write the folder, whole or not at all; an earlier upgrade of that name is replaced.

        Other files in the folder stay, and so do a ``README.md`` or a ``report.json`` that somebody else wrote or changed.

        Args:
            path: The folder.
            report: JSON to keep beside it.
            card: Markdown to add to its ``README.md``.

        Returns:
            The folder.

        Raises:
            InvalidInput: There is a file of that name, or a folder of other things; or the card is no text.
        """
        path = Path(path)
        texts = {CARD: card_with(self._card(), card)}
        if report is not None:
            texts[REPORT] = json.dumps(report, indent=2)
        with atomic_folder(path, marker=MANIFEST, own=OWN_FILES, keep=companions_to_keep(path)) as folder:
            save_tensors(self._tensors(), folder / WEIGHTS)
            written = {"weights_sha256": weights_hash(folder), "written": hashes_of(texts)}
            lora = {} if self.lora is None else {"lora_sha256": copy_lora(self.lora, folder / LORA, self.new_space)}
            texts[MANIFEST] = json.dumps(self._manifest(written | lora), indent=2)
            for name, text in texts.items():
                (folder / name).write_text(text, encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path | str) -> Upgrade:
        """Read a folder that `save` wrote.

        Args:
            path: The folder.

        Returns:
            The same upgrade.

        Raises:
            ArtefactError: It is truncated, altered or foreign.

        Examples:
            >>> from embridge.adapters import Identity, Prefix
            >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
            >>> folder = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")).save("upgrade")
            >>> Upgrade.load(folder).provenance.method
            'prefix'
        """
        with whole_folder(path) as folder:
            manifest = read_manifest(folder)
            weights = read_weights(folder, manifest["weights_sha256"])
            try:
                upgrade = cls(
                    head=adapter_from_parts(manifest["head"], _own(weights, "head.")),
                    bridge=adapter_from_parts(manifest["bridge"], _own(weights, "bridge.")),
                    provenance=Provenance(**manifest["provenance"]),
                    direction=manifest["direction"],
                    uncertainty=_optional(manifest, weights, "uncertainty"),
                    lora=folder / LORA if "lora_sha256" in manifest else None,
                )
                if upgrade.lora is not None:
                    check_lora(upgrade.lora, manifest["lora_sha256"], upgrade.new_space)
                return upgrade
            except ArtefactError:
                raise
            except EmbridgeError as error:
                raise ArtefactError(f"{folder}: {error}") from error
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise ArtefactError(f"{folder / MANIFEST} lacks or misnames {error}; fit the upgrade again") from error

    def push_to_hub(
        self,
        repo: str,
        *,
        report: Mapping[str, Any] | None = None,
        card: str | None = None,
        private: bool | None = None,
        token: str | None = None,
    ) -> str:
        """Publish the upgrade on the Hugging Face hub, as one commit. Needs the extra ``hub``.

        What is published is what `save` writes: ``upgrade.json`` names models and captions as the settings did, paths too.

        Args:
            repo: ``OWNER/NAME``; the repository is made where there is none.
            report: The content of ``report.json``; its figures become the card's ``model-index``.
            card: Markdown to add to the card.
            private: Whether a new repository is; the account's default where None.
            token: Of the hub; None for the one that ``hf auth login`` stored.

        Returns:
            The commit's address.

        Raises:
            InvalidInput: The repository's name or the report cannot be meant.
            ServiceError: The hub refuses, or is not reached.
        """
        with tempfile.TemporaryDirectory(prefix="embridge-") as folder:
            saved = self.save(Path(folder) / "upgrade", report=report, card=card)
            return push_folder(saved, repo, report=report, private=private, token=token)

    @classmethod
    def from_hub(cls, repo: str, *, revision: str | None = None, token: str | None = None) -> Upgrade:
        """Load an upgrade that `push_to_hub` published. Needs the extra ``hub``.

        Args:
            repo: ``OWNER/NAME``.
            revision: A branch, tag or commit; name a commit where it must not change.
            token: As in `push_to_hub`.

        Returns:
            The upgrade.

        Raises:
            InvalidInput: The repository's name cannot be meant.
            ServiceError: The hub refuses, or is not reached.
            ArtefactError: What is there is no upgrade.
        """
        return cls.load(fetch_folder(repo, revision=revision, token=token))

    def _tensors(self) -> dict[str, np.ndarray]:
        return {f"{part}.{name}": a for part, adapter in self._parts().items() for name, a in adapter.weights().items()}

    def _parts(self) -> dict[str, Adapter]:
        parts = {"head": self.head, "bridge": self.bridge, "uncertainty": self.uncertainty}
        return {name: adapter for name, adapter in parts.items() if adapter is not None}

    def _manifest(self, hashes: Mapping[str, Any]) -> dict[str, Any]:
        manifest = {
            "schema": SCHEMA,
            "direction": self.direction,
            **{part: adapter_to_config(adapter) for part, adapter in self._parts().items()},
            "provenance": asdict(self.provenance),
            **hashes,
        }
        return manifest | {"sha256": seal(manifest)}

    def _card(self) -> str:
        plain = {n: v for n, v in self.provenance.figures.items() if isinstance(v, (str, bool, int, float))}
        text = markdown_text
        cells = {text(n): text(f"{v:.4g}" if isinstance(v, float) else str(v)) for n, v in plain.items()}
        rows = "".join(f"| {name} | {value} |\n" for name, value in cells.items())
        new, old = text(str(self.new_space)), text(str(self.old_space))
        lora = "" if self.lora is None else f", with the LoRA in `{LORA}` attached (peft's format)"
        method = one_line(self.provenance.method).replace("`", "'")
        return (
            f"# {text(self.new_space.model)} on an index of {text(self.old_space.model)}\n\n"
            f"A {self.direction} upgrade made with `{method}` by embridge.\n\n"
            f"- new: {new}{lora}\n- old: {old}\n\n| figure | value |\n|---|---|\n{rows}"
        )


def _optional(manifest: Mapping[str, Any], weights: Mapping[str, np.ndarray], part: str) -> Adapter | None:
    return adapter_from_parts(manifest[part], _own(weights, f"{part}.")) if part in manifest else None


def _own(weights: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
