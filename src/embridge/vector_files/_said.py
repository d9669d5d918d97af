"""What a file of vectors says of them: their space, their ids, and whether it is of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embridge.atomic_write import require_file
from embridge.errors import InvalidInput, MissingSetting
from embridge.space import Space, require_same
from embridge.vector_files._npy import opened_npy
from embridge.vector_files._tables import count_in_table, table_space

__all__ = [
    "SUFFIXES",
    "Binding",
    "binding",
    "count_rows",
    "has_ids",
    "read_space",
    "settled_space",
    "stored_suffix",
    "vector_suffix",
]

SUFFIXES = (".npy", ".parquet", ".arrow", ".feather")


@dataclass(frozen=True, slots=True)
class Binding:
    """What a file says of its vectors, and whether it is of them: see `binding`.

    Attributes:
        space: What it says; None where it says none, or that of other vectors.
        problem: Why its ids and space cannot be of its vectors; empty where there is no reason.
        caution: Why they may not be.

    Examples:
        >>> Binding(None).problem
        ''
    """

    space: Space | None
    problem: str = ""
    caution: str = ""


def read_space(path: Path | str) -> Space | None:
    """The space that a file says it holds; of a table, no vectors are read.

    Args:
        path: As for `read_vectors`.

    Returns:
        The space, or None where the file says none.

    Raises:
        InvalidInput: The file cannot be read, or an npy is not the one that its space was written with.

    Examples:
        >>> import numpy as np
        >>> np.save("bare.npy", np.eye(2, dtype=np.float32))
        >>> read_space("bare.npy") is None
        True
    """
    path = Path(path)
    if stored_suffix(path, None) != ".npy":
        return table_space(path)
    with opened_npy(path) as npy:
        npy.require_bound()
        return npy.space


def has_ids(path: Path | str) -> bool:
    """Whether a file says the ids of its rows; `read_vectors` names them by their numbers from 0 otherwise.

    Args:
        path: As for `read_vectors`.

    Returns:
        False for an npy without the JSON beside it.

    Examples:
        >>> import numpy as np
        >>> np.save("bare.npy", np.eye(2, dtype=np.float32))
        >>> has_ids("bare.npy")
        False
    """
    path = Path(path)
    if stored_suffix(path, None) != ".npy":
        return True
    with opened_npy(path) as npy:
        return npy.ids is not None


def count_rows(path: Path | str) -> int:
    """How many rows a file has, as it says itself; no vectors are read.

    Args:
        path: As for `read_vectors`.

    Returns:
        Their number.

    Raises:
        InvalidInput: The file cannot be read.

    Examples:
        >>> import numpy as np
        >>> np.save("bare.npy", np.eye(2, dtype=np.float32))
        >>> count_rows("bare.npy")
        2
    """
    path = Path(path)
    if stored_suffix(path, None) != ".npy":
        return count_in_table(path)
    with opened_npy(path) as npy:
        return len(npy.vectors)


def binding(path: Path | str) -> Binding:
    """Look at what a file says of its vectors, and whether it is of them.

    Args:
        path: As for `read_vectors`.

    Returns:
        The space, and what is wrong.

    Raises:
        InvalidInput: The file cannot be read.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, write_vectors
        >>> _ = write_vectors(Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"]), "rows.npy")
        >>> binding("rows.npy").problem
        ''
        >>> np.save("rows.npy", np.ones((2, 2), np.float32))
        >>> binding("rows.npy").problem[:50]
        'rows.npy is not the file that rows.npy.json was wr'
    """
    path = Path(path)
    if stored_suffix(path, None) != ".npy":
        return Binding(table_space(path))
    with opened_npy(path) as npy:
        try:
            npy.require_bound()
        except InvalidInput as error:
            return Binding(None, problem=str(error))
        return Binding(npy.space, caution=npy.caution)


def settled_space(path: Path, said: Space | None, space: Space | None, dim: int) -> Space:
    """The space of a file: what it says, checked against what was asked for."""
    if said is not None and space is not None:
        require_same(space, said, what=str(path))
    if (settled := said or space) is None:
        raise MissingSetting(
            f"{path} does not say of which model its {dim}-d vectors are; name it with space= (YAML: space:)"
        )
    return settled


def vector_suffix(path: Path) -> str:
    """The suffix; raises `InvalidInput` for one that is none of a file of vectors."""
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{path}: vectors are kept as {', '.join(SUFFIXES)}, not as {path.suffix or 'no suffix'}")
    return path.suffix


def stored_suffix(path: Path, columns: Mapping[str, str] | None) -> str:
    """The suffix of a file that is there, and has columns if some are named."""
    suffix = vector_suffix(path)
    require_file(path, "a file of vectors")
    if columns and suffix == ".npy":
        raise InvalidInput(f"{path}: an npy file has no columns that could be called {dict(columns)}")
    return suffix
