"""What a sentence model says of its own use: prompts, similarity, pooling. It is obeyed, or refused, and never made up."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from embridge.encoders._local import Located
from embridge.encoders.base import Role
from embridge.errors import SettingsError, require
from embridge.space import Metric

__all__ = ["POOLINGS", "CardSettings", "metric_of", "pooling_name", "prompts_of", "settle_pooling"]

POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_PROMPT_NAMES: dict[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "dot", "euclidean": "l2"}


@dataclass(frozen=True, slots=True)
class CardSettings:
    """What is stated of a sentence model beside its own files.

    Attributes:
        query_prompt: What stands before queries: the name of one of the model's prompts, or the words themselves.
        document_prompt: What stands before documents, likewise.
        pooling: How tokens become one vector, for a model whose files do not say it.
        metric: How vectors are compared, if not as the model says.

    Raises:
        SettingsError: There is no such pooling or metric.

    Examples:
        >>> CardSettings(pooling="first")
        Traceback (most recent call last):
        embridge.errors.SettingsError: pooling is one of cls, mean, max, mean_sqrt_len_tokens, weightedmean, lasttoken; ...
    """

    query_prompt: str | None = None
    document_prompt: str | None = None
    pooling: str | None = None
    metric: Metric | None = None

    def __post_init__(self) -> None:
        known = {"pooling": POOLINGS, "metric": get_args(Metric)}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value not in known.get(field.name, (value,)):
                raise SettingsError(f"{field.name} is one of {', '.join(known[field.name])}; came {value!r}")


def prompts_of(model: Any, stated: CardSettings, name: str) -> dict[Role, str]:
    """What stands before queries and documents: as stated, else as the library itself chooses.

    Warns where a role has none although the model has prompts by other names, which the library leaves out in silence.
    """
    own: Mapping[str | None, str | None] = model.prompts
    by_role: dict[Role, str | None] = {"query": stated.query_prompt, "document": stated.document_prompt}
    chosen: dict[Role, str] = {}
    for role, words in by_role.items():
        if words is None:
            named = [own[key] for key in _PROMPT_NAMES[role] if key in own]
            chosen[role] = (named[0] if named else own.get(model.default_prompt_name)) or ""
        else:
            chosen[role] = _words(own, words, name)
    unused = [str(key) for key, words in own.items() if words and words not in chosen.values()]
    without = [role for role, words in by_role.items() if words is None and not chosen[role]]
    if unused and without:
        settings = " and ".join(f"{role}_prompt" for role in without)
        warnings.warn(
            f"{name} has the prompts {', '.join(unused)}, and none by the name of {' or '.join(without)}: they are left out. "
            f"Name the right one as {settings}, or '' for none",
            stacklevel=4,
        )
    return chosen


def _words(prompts: Mapping[str | None, str | None], stated: str, name: str) -> str:
    named = [str(key) for key, words in prompts.items() if words]
    if stated not in prompts and named and re.fullmatch(r"[\w.-]+", stated):
        raise SettingsError(
            f"{name} has no prompt {stated!r}; there are {', '.join(named)}. Words that stand before a text end in a space"
        )
    return prompts.get(stated, stated) or ""


def metric_of(found: Located, model: Any, stated: CardSettings) -> Metric:
    """How vectors are compared: as stated, else as the model says; raises `SettingsError` for what no space has."""
    if stated.metric is not None:
        return stated.metric
    similarity = str(_similarity_in(found) or model.similarity_fn_name)
    if similarity not in _METRICS:
        raise SettingsError(
            f"{found.name} compares its vectors by {similarity}; a space has {', '.join(get_args(Metric))}. State one of them "
            "as metric, if the model is good by it too"
        )
    return _METRICS[similarity]


def settle_pooling(found: Located, model: Any, stated: CardSettings) -> None:
    """Pool as stated where the model's files do not say how; warns where nothing does, and the library takes a guess.

    Raises `SettingsError` for a pooling of a model that says its own.
    """
    poolings = [module for module in model if type(module).__name__ == "Pooling"]
    if _says_its_modules(found):
        if stated.pooling is not None:
            raise SettingsError(f"{found.name} says its own pooling in modules.json; leave pooling out")
    elif stated.pooling is not None and poolings:
        dim = getattr(poolings[-1], "embedding_dimension", None) or poolings[-1].word_embedding_dimension
        model[-1] = type(poolings[-1])(dim, stated.pooling)
    elif poolings:
        warnings.warn(
            f"{found.name} has no modules.json, which would say how its tokens become one vector: {pooling_name(poolings[-1])} "
            f"pooling is assumed. State pooling ({', '.join(POOLINGS)}) as its authors do",
            stacklevel=4,
        )


def pooling_name(module: Any) -> str:
    """How a module makes one vector of many tokens, or nothing if it does something else."""
    mode = getattr(module, "pooling_mode", None)
    if mode is None:  # the first releases of sentence-transformers 5 say it by a method alone
        return str(getattr(module, "get_pooling_mode_str", str)())
    return mode if isinstance(mode, str) else "+".join(mode)


def _says_its_modules(found: Located) -> bool:
    if not found.on_hub:
        return (Path(found.source) / "modules.json").is_file()
    hub = require("huggingface_hub", extra="text")
    return isinstance(hub.try_to_load_from_cache(found.source, "modules.json", revision=found.revision), str)


def _similarity_in(found: Located) -> Any:
    """The similarity that the folder names, of which the library drops the names that it does not know."""
    try:
        described = json.loads((Path(found.source) / "config_sentence_transformers.json").read_text(encoding="utf-8"))
        return described.get("similarity_fn_name")
    except (OSError, ValueError, AttributeError):
        return None
