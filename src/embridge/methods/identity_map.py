"""No bridge at all: what a fine-tune of the same model may need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.errors import InvalidInput
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.signal import check_signal
from embridge.progress import Progress, silent

__all__ = ["IdentityMap"]


@dataclass(frozen=True, slots=True)
class IdentityMap:
    """``y = x``: new vectors are taken for old ones as they are.

    Between models that were trained apart this finds nothing, however equal their dims are. A fine-tune of the old model may
    have moved its vectors so little that they still find what they should. It is a candidate of `choose`, which measures that.

    Requirements: the same items encoded by both models, and equal dims. Related: `MeanShift` moves the average, too.

    Source: the ``naive`` control of every benchmark here.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> rows = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
        >>> new, old = (Embeddings.of(rows, Space(m, "1", 2)) for m in ("new", "old"))
        >>> upgrade = IdentityMap().fit(Pairs(new, old))
        >>> bool((upgrade.to_index_space(new).vectors == rows).all())
        True
    """

    paper: ClassVar[str] = "none: new vectors as they are"

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Make the upgrade; nothing is fitted.

        Args:
            pairs: The same items as both models see them.
            seed: Changes nothing.
            progress: Told of one step.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, the dims differ, or all vectors of a side point the same way.
        """
        require_cosine(pairs, "identity")
        new, old = pairs.new.space, pairs.old.space
        if new.dim != old.dim:
            raise InvalidInput(
                f"identity takes vectors as they are, so both spaces need one dim; came {new.dim} new and {old.dim} old"
            )
        check_signal(pairs)
        progress(1, 1, "identity")
        return backward_upgrade(Identity(new, old), pairs, "identity", settings=self, seed=seed, figures={})
