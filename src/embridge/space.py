"""Space: which vectors may be compared with which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from embridge.errors import InvalidInput, SpaceMismatch

__all__ = ["Metric", "Space", "require_same"]

Metric = Literal["cosine", "dot", "l2"]


@dataclass(frozen=True, slots=True)
class Space:
    """One model's vector space: everything that must agree before two vectors may be compared.

    Attributes:
        model: The model's name.
        revision: A commit, or a hash of its weights.
        dim: Length of a vector.
        metric: How two vectors are compared. ``cosine`` normalises both, ``l2`` is the negative squared distance: more is
            always nearer.
        recipe: Whatever else changes the vectors, such as prefix, pooling and preprocessing.

    Raises:
        InvalidInput: A field is of another type or out of range.

    Examples:
        >>> Space("clip-vit-b32", "3d74acf", 512).id
        '5e20addef883'
        >>> Space("clip-vit-b32", "3d74acf", 512) == Space("clip-vit-b32", "other", 512)
        False
    """

    model: str
    revision: str
    dim: int
    metric: Metric = "cosine"
    recipe: str = ""

    def __post_init__(self) -> None:
        texts = (self.model, self.revision, self.recipe)
        if not all(isinstance(t, str) for t in texts) or not self.model.strip():
            raise InvalidInput(f"a space needs a model name, a revision and a recipe as text, not {texts!r}")
        if not isinstance(self.dim, int) or isinstance(self.dim, bool) or self.dim < 1:
            raise InvalidInput(f"a space needs a whole dim of at least 1, not {self.dim!r}")
        if self.metric not in get_args(Metric):
            raise InvalidInput(f"metric is one of {', '.join(get_args(Metric))}, not {self.metric!r}")

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for the same five fields on every machine; safe in column names."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """The five fields, for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Space:
        """The inverse of `to_dict`; raises `InvalidInput` on missing or unknown fields."""
        names = {"model", "revision", "dim", "metric", "recipe"}
        if not isinstance(fields, Mapping) or set(fields) != names:
            raise InvalidInput(f"a space is written as {sorted(names)}, not as {fields!r}")
        return Space(**fields)

    def __str__(self) -> str:
        return f"{self.model}@{self.revision or '?'} ({self.dim}-d {self.metric}, space {self.id})"


def require_same(expected: Space, actual: Space, *, what: str) -> None:
    """Refuse vectors of another space.

    Args:
        expected: The space that there must be.
        actual: The space that there is.
        what: What the message calls the vectors, such as ``the queries``.

    Raises:
        SpaceMismatch: The two differ.

    Examples:
        >>> old, new = Space("clip-vit-b32", "3d74acf", 512), Space("clip-vit-b32", "other", 512)
        >>> require_same(old, old, what="the queries")
        >>> require_same(old, new, what="the queries")
        Traceback (most recent call last):
        embridge.errors.SpaceMismatch: the queries: expected vectors of clip-vit-b32@3d74acf (512-d cosine, space 5e20addef883)...
    """
    if expected is actual or expected == actual:
        return
    differing = [n for n, v in expected.to_dict().items() if actual.to_dict()[n] != v]
    former = f" (or state revision: {expected.revision}, if it is an earlier release's of the same files)"
    equal_dim = " Equal dimensions do not make them comparable." if expected.dim == actual.dim else ""
    raise SpaceMismatch(
        f"{what}: expected vectors of {expected}, came {actual}; they differ in {', '.join(differing)}.{equal_dim} "
        f"Encode with the expected model{former if differing == ['revision'] else ''}, or map them with the upgrade that "
        "joins the two spaces"
    )
