"""A YAML file as plain values, or one line that says where it is none: every key stands once, and no alias grows without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from embridge.errors import SettingsError

__all__ = ["read_yaml"]

_MOST_BYTES = 1 << 22
_MOST_BITS = 1_024
_MOST_NODES = 200_000  # with every alias written out


class _OnceEachLoader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """Refuses a key that stands twice, of which YAML would keep the last and drop the others, and texts that no file holds."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise _Unreadable(f"the key {key.value!r} stands there twice", key)
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ValueError, OverflowError) as error:  # no day of the calendar, or a number of thousands of digits
            raise _Unreadable(
                f"{node.value[:40]!r} is none of what it looks like ({error}); put it in quotes", node
            ) from error
        if isinstance(value, str) and ("\0" in value or not _encodable(value)):
            raise _Unreadable("a text holds NUL or half a character", node)
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise _Unreadable(f"{node.value[:40]}… is too large a number; put it in quotes if it is text", node)
        return value


class _Unreadable(yaml.YAMLError):  # type: ignore[misc, unused-ignore]
    def __init__(self, problem: str, node: Any) -> None:
        super().__init__(f"line {node.start_mark.line + 1}: {problem}")


def read_yaml(path: Path) -> Any:
    """What a file holds.

    Args:
        path: The file, UTF-8.

    Returns:
        Dictionaries, lists and scalars.

    Raises:
        SettingsError: There is no such file, or it is no YAML, is too large, or holds itself; the message names the line.
    """
    if not path.exists():
        raise SettingsError(f"{path} does not exist; expected a YAML settings file")
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise yaml.YAMLError(f"it is larger than {_MOST_BYTES >> 20} MiB")
        loader = _OnceEachLoader(content.decode("utf-8"))
        try:
            node = loader.get_single_node()
            _require_finite(node)
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    except RecursionError as error:
        raise SettingsError(f"{path} cannot be read as YAML: it is nested too deeply") from error
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {_one_line(error)}") from error


def _require_finite(root: Any) -> None:
    """Refuse aliases that hold themselves, and those that grow beyond bounds when each is written out."""
    sizes: dict[int, int | None] = {}  # None: begun, and not done

    def size(node: Any) -> int:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        if id(node) in sizes:
            known = sizes[id(node)]
            if known is None:
                raise _Unreadable("an alias stands within what it names", node)
            return known
        sizes[id(node)] = None
        children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        total = 1 + sum(map(size, children))
        if total > _MOST_NODES:
            raise _Unreadable(f"more than {_MOST_NODES:,} values, with its aliases written out", node)
        sizes[id(node)] = total
        return total

    if root is not None:
        size(root)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _one_line(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    context = getattr(error, "context", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: " + " ".join(
        ", ".join(filter(None, (context, problem))).split()
    )
