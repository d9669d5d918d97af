"""The fingerprint of a model's folder: whatever changes its vectors counts, and nothing that lies beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput

__all__ = ["config_parts", "fingerprint", "hash_of_weight_files", "short_digest", "tokenizer_parts", "weight_parts"]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_MODULES = "modules.json"  # of sentence-transformers: which folders hold the parts of the model
_ROUTES = "router_config.json"  # of its Router, likewise
_SENTENCES = "config_sentence_transformers.json"
_CONFIGS = (
    *("config.json", "*processor_config.json", "sentence_*_config.json", _SENTENCES, _MODULES, _ROUTES),
    *("wordembedding_config.json", "cnn_config.json", "lstm_config.json", "bow_config.json"),
)
_TOKENIZER = (
    *("tokenizer.json", "*tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tekken.json"),
    *("*vocab*.json", "*vocab*.txt", "vocab.*", "merges.txt", "dict.txt", "*.model", "*.spm", "*.codes", "*.tiktoken"),
    *("chat_template.json", "chat_template.jinja"),
)
_TWINS = ("vocab.txt", "vocab.json", "merges.txt")  # copies of what tokenizer.json holds, which is then read alone
_HISTORY = frozenset(
    {
        *("_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "__version__"),
        *("tokenizer_file", "special_tokens_map_file", "is_local", "local_files_only"),
        "similarity_fn_name",  # the space names it, as its metric
    }
)
_BLOCK_BYTES = 1 << 20
_LONGEST_HEADER_BYTES = 100_000_000  # as safetensors has it


def fingerprint(folder: Path) -> str:
    """Twelve hexadecimal digits for the files that transformers and sentence-transformers read of a folder.

    Counted are the weights that are loaded, tensor by tensor, so that shards of them are the same weights; every part's
    configuration; tokenizer, prompts and preprocessing. JSON counts by what it says, without the keys that are history.
    Other formats of the weights, model cards, optimisers and folders that are no part of the model do not count, nor do
    names of folders and times. Raises `InvalidInput` where there are no weights.
    """
    parts, weights = dict[str, str](), 0
    for part in _part_folders(folder):
        prefix = "" if part == folder else f"{part.relative_to(folder).as_posix()}/"
        found = weight_parts(_weight_files(part))
        weights += len(found)
        found |= tokenizer_parts(part) | config_parts(part)
        parts |= {prefix + name: digest for name, digest in found.items()}
    if not weights:
        raise InvalidInput(f"{folder} holds no model weights ({', '.join(_WEIGHTS)})")
    return short_digest(parts)


def hash_of_weight_files(folder: Path) -> str:
    """What embridge called such a folder before everything else counted: a hash of all its files of weights."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.suffix in {".safetensors", ".bin", ".onnx"} and p.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode())
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()[:12]


def short_digest(parts: dict[str, str]) -> str:
    """Twelve hexadecimal digits for digests by name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def weight_parts(files: list[Path]) -> dict[str, str]:
    """A digest of every tensor in files of safetensors, by its name; of other files as they are."""
    parts = dict[str, str]()
    for number, file in enumerate(files):
        try:
            parts |= _tensors(file) if file.suffix == ".safetensors" else {}
        except (ValueError, KeyError, TypeError, AttributeError):  # damaged: whoever loads it will say so
            parts[f"weights {number}"] = _digest(file)
        if file.suffix != ".safetensors":
            parts[f"weights {number}"] = _digest(file)
    return parts


def tokenizer_parts(folder: Path) -> dict[str, str]:
    """A digest of every file that a tokenizer is read from."""
    files = _matching(folder, _TOKENIZER)
    names = {file.name for file in files}
    if "tokenizer.json" in names and not any(name.endswith(".codes") for name in names):
        files = [file for file in files if file.name not in _TWINS]
    pad_token = _pad_token(folder)
    return {file.name: _text_digest(file, pad_token) for file in files}


def config_parts(folder: Path, patterns: tuple[str, ...] = _CONFIGS) -> dict[str, str]:
    """A digest of what every file of settings says."""
    return {file.name: _text_digest(file, None) for file in _matching(folder, patterns)}


def _part_folders(folder: Path) -> list[Path]:
    """The folder itself, and those that sentence-transformers loads modules from."""
    found = [folder]
    for module in _listed(folder / _MODULES):
        path = module.get("path") if isinstance(module, dict) else None
        found += [folder / path] if isinstance(path, str) and not Path(path).is_absolute() else []
    for part in list(found):
        routes = _read_json(part / _ROUTES)
        types = routes.get("types") if isinstance(routes, dict) else None
        found += [part / name for name in types if not Path(name).is_absolute()] if isinstance(types, dict) else []
    return [part for part in dict.fromkeys(found) if ".." not in part.relative_to(folder).parts and part.is_dir()]


def _weight_files(folder: Path) -> list[Path]:
    """The files that are loaded, in the order in which the libraries look for them; none for a part without weights."""
    for name in _WEIGHTS:
        if not (file := folder / name).is_file():
            continue
        if not name.endswith(".index.json"):
            return [file]
        index = _read_json(file)
        shards = index.get("weight_map") if isinstance(index, dict) else None
        files = (
            [folder / str(shard) for shard in sorted(set(map(str, shards.values())))]
            if isinstance(shards, dict)
            else []
        )
        if missing := [shard.name for shard in files if not shard.is_file()]:
            raise InvalidInput(f"{file} names {missing[0]}, which is not there; get the complete checkpoint")
        return files
    return []


def _tensors(file: Path) -> dict[str, str]:
    """A digest of dtype, shape and bytes of every tensor; raises `ValueError` for a file that is cut."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_bytes = int.from_bytes(stream.read(8), "little")
        if not 2 <= header_bytes <= min(size - 8, _LONGEST_HEADER_BYTES):
            raise ValueError("no header")
        header = json.loads(stream.read(header_bytes))
        tensors = {name: about for name, about in header.items() if name != "__metadata__"}
        parts = dict[str, str]()
        for name, about in sorted(tensors.items(), key=lambda one: one[1]["data_offsets"]):
            start, end = about["data_offsets"]
            if not 0 <= start <= end <= size - 8 - header_bytes:
                raise ValueError(f"{name} is cut")
            stream.seek(8 + header_bytes + start)
            digest = hashlib.sha256(json.dumps([about["dtype"], about["shape"]]).encode())
            while start < end:
                block = stream.read(min(_BLOCK_BYTES, end - start))
                digest.update(block)
                start += len(block) or end
            parts[name] = digest.hexdigest()
    return parts


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    named = (file for file in folder.iterdir() if any(fnmatch(file.name, pattern) for pattern in patterns))
    return sorted(file for file in named if file.is_file() and not file.name.startswith("."))


def _text_digest(file: Path, pad_token: str | None) -> str:
    content = _read_json(file) if file.suffix == ".json" else None
    if content is None:
        return _digest(file)
    if file.name == "tokenizer.json" and isinstance(content, dict):
        content |= _padding_and_truncation(content, pad_token)
    elif "config" in file.name:
        content = _without_history(content)
    if file.name == _SENTENCES and isinstance(content, dict):
        content = _sentence_settings(content)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _padding_and_truncation(tokenizer: dict[str, Any], pad_token: str | None) -> dict[str, Any]:
    """What of its state outlives a call: lengths and strategies are set again with every batch."""
    truncation, padding = tokenizer.get("truncation") or {}, tokenizer.get("padding") or {}
    side, token = padding.get("direction", "Right"), padding.get("pad_token", pad_token)
    return {
        "truncation": truncation.get("direction", "Right"),
        "padding": [
            side,
            padding.get("pad_type_id", 0),
            None if token == pad_token else [token, padding.get("pad_id")],
        ],
    }


def _pad_token(folder: Path) -> str | None:
    """The padding token as the tokenizer's own configuration names it."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        described = _read_json(folder / name)
        token = described.get("pad_token") if isinstance(described, dict) else None
        if token is not None:
            return str(token.get("content")) if isinstance(token, dict) else str(token)
    return None


def _without_history(content: Any) -> Any:
    if isinstance(content, list):
        return [_without_history(value) for value in content]
    if isinstance(content, dict):
        return {key: _without_history(value) for key, value in content.items() if key not in _HISTORY}
    return content


def _sentence_settings(content: dict[str, Any]) -> dict[str, Any]:
    """Without what stands there and says nothing: prompts of no characters, and settings that are null."""
    prompts = content.get("prompts")
    if isinstance(prompts, dict):
        content = content | {"prompts": {name: text for name, text in prompts.items() if text} or None}
    return {key: value for key, value in content.items() if value is not None}


def _listed(file: Path) -> list[Any]:
    content = _read_json(file)
    return content if isinstance(content, list) else []


def _read_json(file: Path) -> Any:
    """What a file of JSON says; None where it is not there, or is none, which whoever loads the model will say."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
