"""Arrays of tokens become text again: OpenAI's clients may send them in its place, and LangChain's does."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput

__all__ = ["are_tokens", "text_of_tokens"]

_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_SPECIAL = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}
_HINT = (
    "input: expected text, came tokens, and the server has no cl100k_base in tiktoken's cache (TIKTOKEN_CACHE_DIR) to read them "
    "with; send text: in LangChain's OpenAIEmbeddings, set check_embedding_ctx_length=False"
)


def are_tokens(value: Any) -> bool:
    """Whether a part of a request is an array of tokens.

    >>> are_tokens([17, 4]), are_tokens(["17"]), are_tokens("17"), are_tokens([True])
    (True, False, False, False)
    """
    return isinstance(value, list) and all(type(one) is int for one in value)


def text_of_tokens(tokens: Sequence[int]) -> str:
    """The text of some tokens of cl100k_base, the encoding that OpenAI's embedding models and LangChain's client share.

    The table of tokens is read where tiktoken keeps it. Nothing is downloaded. Clients cut long texts between any two tokens: a
    character that is cut in two becomes U+FFFD.

    Args:
        tokens: Their numbers.

    Returns:
        The text.

    Raises:
        InvalidInput: The table is not there, or has no such token.
    """
    table = _table(_cached_file())
    if table is None:
        raise InvalidInput(_HINT)
    try:
        return b"".join([table[token] for token in tokens]).decode("utf-8", "replace")
    except KeyError as error:
        raise InvalidInput(f"input: the token {error} is none of cl100k_base; send text") from error


def _cached_file() -> Path | None:
    """Where tiktoken looks for its file, by the variables that it reads; None where it is not there."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    file = Path(folder) / hashlib.sha1(_URL.encode(), usedforsecurity=False).hexdigest()
    return file if folder and file.is_file() else None


@lru_cache(maxsize=1)
def _table(file: Path | None) -> Mapping[int, bytes] | None:
    """The bytes of each token; None where the file is not there, cannot be read, or is another than was published."""
    try:
        content = b"" if file is None else file.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != _SHA256:
        return None
    lines = (line.split() for line in content.splitlines() if line)
    return {int(rank): base64.b64decode(token) for token, rank in lines} | _SPECIAL
