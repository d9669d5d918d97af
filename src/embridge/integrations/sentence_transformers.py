"""sentence-transformers: a bridge as the last module of a model, also for queries alone. Needs the extra ``text``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.errors import ArtefactError, MissingExtra, WrongDirection, require
from embridge.space import require_same

__all__ = ["BridgeModule", "upgraded_model"]

_FOLDER = "upgrade"


def _modules() -> Any:
    """Where the library keeps its modules: it moved them in one of its releases 5."""
    try:
        return require("sentence_transformers.base.modules", extra="text")
    except MissingExtra:
        return require("sentence_transformers.models", extra="text")


class BridgeModule(_modules().Module):  # type: ignore[misc]
    """The module that maps a model's vectors into the old space; it learns nothing, and passes no gradient.

    It is saved with the model. To load such a model, sentence-transformers asks for ``trust_remote_code=True``, since the
    module is not its own. A linear bridge can be folded into modules that are: see `embridge.export.fold`.

    Args:
        upgrade: The upgrade, a backward one.

    Raises:
        WrongDirection: It is a forward one.

    Examples:
        >>> import torch
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> module = BridgeModule(Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")))
        >>> module({"sentence_embedding": torch.tensor([[0.0, 2.0, 0.0]])})["sentence_embedding"].tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, upgrade: Upgrade) -> None:
        super().__init__()
        if upgrade.direction != "backward":
            raise WrongDirection("a forward upgrade makes no vectors of the old space; fit a backward method")
        self.upgrade = upgrade

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Map the key ``sentence_embedding``."""
        torch = require("torch", extra="text")
        given = features["sentence_embedding"]
        rows: np.ndarray = given.detach().float().cpu().numpy()
        space = self.upgrade.new_space
        unit = normalized(rows) if space.metric == "cosine" else rows  # as the encoder gave them to the fit
        mapped = self.upgrade.to_index_space(Embeddings.of(unit, space)).vectors
        return features | {"sentence_embedding": torch.from_numpy(np.array(mapped)).to(given.device)}

    def get_embedding_dimension(self) -> int:
        """How long the vectors are."""
        return self.upgrade.old_space.dim

    def get_sentence_embedding_dimension(self) -> int:
        """The same, by the name that releases 5 ask for."""
        return self.upgrade.old_space.dim

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write the upgrade into the module's folder."""
        self.upgrade.save(Path(output_path) / _FOLDER)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> BridgeModule:
        """Read what `save` wrote, from a folder or the hub."""
        known = {name: options.get(name) for name in ("token", "cache_folder", "revision")}
        offline = bool(options.get("local_files_only"))
        found = cls.load_dir_path(model_name_or_path, subfolder=subfolder, local_files_only=offline, **known)
        if found is None:
            raise ArtefactError(f"{model_name_or_path} lacks {subfolder}/{_FOLDER}; copy the whole folder")
        return cls(Upgrade.load(Path(found) / _FOLDER))


def upgraded_model(
    new: SentenceTransformerEncoder, upgrade: Upgrade, *, old: SentenceTransformerEncoder | None = None
) -> Any:
    """A ``SentenceTransformer`` whose vectors lie in the old space.

    Args:
        new: The new model.
        upgrade: An upgrade of it.
        old: The old model, if documents are to be encoded by it as before; then ``encode_query`` goes through the new model and
            the bridge, and ``encode_document`` and ``encode`` through the old model (a ``Router``).

    Returns:
        The model; it shares its modules with those given.

    Raises:
        SpaceMismatch: A model is not the upgrade's.
        WrongDirection: The upgrade is a forward one.

    Examples:
        >>> from embridge.encoders import load
        >>> upgraded_model(load("sentence-transformers:./new"), Upgrade.load("upgrade"))
        Traceback (most recent call last):
        embridge.errors.SettingsError: there is no folder ./new; a model is named by its folder, or by its id on the hub
    """
    library = require("sentence_transformers", extra="text")
    bridge = BridgeModule(upgrade)
    require_same(upgrade.new_space, new.space, what="the new model of this upgrade")
    queries = [*new.model.children(), bridge]
    prompts = {role: new.prompt(role) for role in ("query", "document")}
    if old is not None:
        require_same(upgrade.old_space, old.space, what="the old model of this upgrade")
        prompts["document"] = old.prompt("document")
        queries = [_modules().Router.for_query_document(queries, list(old.model.children()))]
    metric = upgrade.old_space.metric
    return library.SentenceTransformer(
        modules=queries, device=str(new.model.device), prompts=prompts, similarity_fn_name=metric
    )
