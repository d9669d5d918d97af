"""Embridge: upgrade your embedding model, keep your index.

What most people need can be imported from here. Each name is loaded when it is first used, so that ``import embridge``
imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embridge.adapters import Upgrade
    from embridge.embeddings import Embeddings, HalfEmbeddings, concatenate
    from embridge.encoders import Encoder
    from embridge.encoders import load as load_encoder
    from embridge.errors import (
        ArtefactError,
        EmbridgeError,
        GateRefused,
        InvalidInput,
        MissingExtra,
        ServiceError,
        SettingsError,
        SpaceMismatch,
        StoreError,
        WrongDirection,
    )
    from embridge.evaluation import (
        Relevance,
        Report,
        Scope,
        Side,
        Summary,
        evaluate,
        load_report,
        save_report,
        summarise,
    )
    from embridge.jobs.demo import run_demo
    from embridge.jobs.evaluate import evaluate_upgrade
    from embridge.jobs.export import export_upgrade
    from embridge.jobs.fit import fit_upgrade
    from embridge.jobs.inspect import inspect_path
    from embridge.jobs.search import search_store
    from embridge.jobs.train import train_model
    from embridge.methods import Method, Pairs
    from embridge.methods import make as make_method
    from embridge.nearest import Hits, Ranking, rerank, search, top_k
    from embridge.progress import Progress
    from embridge.provenance import Provenance
    from embridge.query import Cascade, Fusion, MixedSearch
    from embridge.settings import load_settings, load_training_settings
    from embridge.space import Space
    from embridge.stores import Condition, Store, open_store
    from embridge.training.compatible.trainer import CompatibleTraining
    from embridge.training.objectives import make_objective
    from embridge.training.xbt.finetune import XBTFinetune
    from embridge.vector_files import read_vectors, write_vectors

__all__ = [
    "ArtefactError",
    "Cascade",
    "CompatibleTraining",
    "Condition",
    "Embeddings",
    "EmbridgeError",
    "Encoder",
    "Fusion",
    "GateRefused",
    "HalfEmbeddings",
    "Hits",
    "InvalidInput",
    "Method",
    "MissingExtra",
    "MixedSearch",
    "Pairs",
    "Progress",
    "Provenance",
    "Ranking",
    "Relevance",
    "Report",
    "Scope",
    "ServiceError",
    "SettingsError",
    "Side",
    "Space",
    "SpaceMismatch",
    "Store",
    "StoreError",
    "Summary",
    "Upgrade",
    "WrongDirection",
    "XBTFinetune",
    "__version__",
    "concatenate",
    "evaluate",
    "evaluate_upgrade",
    "export_upgrade",
    "fit_upgrade",
    "inspect_path",
    "load_encoder",
    "load_report",
    "load_settings",
    "load_training_settings",
    "make_method",
    "make_objective",
    "open_store",
    "read_vectors",
    "rerank",
    "run_demo",
    "save_report",
    "search",
    "search_store",
    "summarise",
    "top_k",
    "train_model",
    "write_vectors",
]

__version__ = "0.1.0"

_HOMES = {
    "ArtefactError": "errors",
    "Cascade": "query",
    "CompatibleTraining": "training.compatible.trainer",
    "Condition": "stores",
    "Embeddings": "embeddings",
    "EmbridgeError": "errors",
    "Encoder": "encoders",
    "Fusion": "query",
    "GateRefused": "errors",
    "HalfEmbeddings": "embeddings",
    "Hits": "nearest",
    "InvalidInput": "errors",
    "Method": "methods",
    "MissingExtra": "errors",
    "MixedSearch": "query",
    "Pairs": "methods",
    "Progress": "progress",
    "Provenance": "provenance",
    "Ranking": "nearest",
    "Relevance": "evaluation",
    "Report": "evaluation",
    "Scope": "evaluation",
    "ServiceError": "errors",
    "SettingsError": "errors",
    "Side": "evaluation",
    "Space": "space",
    "SpaceMismatch": "errors",
    "Store": "stores",
    "StoreError": "errors",
    "Summary": "evaluation",
    "Upgrade": "adapters",
    "WrongDirection": "errors",
    "XBTFinetune": "training.xbt.finetune",
    "concatenate": "embeddings",
    "evaluate": "evaluation",
    "evaluate_upgrade": "jobs.evaluate",
    "export_upgrade": "jobs.export",
    "fit_upgrade": "jobs.fit",
    "inspect_path": "jobs.inspect",
    "load_encoder": "encoders",
    "load_report": "evaluation",
    "load_settings": "settings",
    "load_training_settings": "settings",
    "make_method": "methods",
    "make_objective": "training.objectives",
    "open_store": "stores",
    "read_vectors": "vector_files",
    "rerank": "nearest",
    "run_demo": "jobs.demo",
    "save_report": "evaluation",
    "search": "nearest",
    "search_store": "jobs.search",
    "summarise": "evaluation",
    "top_k": "nearest",
    "train_model": "jobs.train",
    "write_vectors": "vector_files",
}
_EXTRAS = {
    "CompatibleTraining": "train",
    "XBTFinetune": "finetune",
}  # classes whose modules import more than the base install
_NAMES_AT_HOME = {"load_encoder": "load", "make_method": "make"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"embridge.{_HOMES[name]}"
    if name in _EXTRAS:
        from embridge.errors import require

        home = require(module, extra=_EXTRAS[name])
    else:
        home = import_module(module)
    value = getattr(home, _NAMES_AT_HOME.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
