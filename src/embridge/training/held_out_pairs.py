"""How a fine-tuning is judged while it runs: by held-out pairs, without labels and without the old model."""

from __future__ import annotations

from torch import Tensor

__all__ = ["HeldOutPairs", "mean_reciprocal_rank"]


class HeldOutPairs:
    """Half the reciprocal rank of new images among surrogates of old captions, half that of new captions among old images.

    The stored gallery is the old model's, which is not at hand; its surrogate is what the first stage makes of the native
    new model, ψ₀(f(·)), of captions and of images alike. Both stay fixed, so the score says how the new queries do on what
    does not change with them. Rows of the query's own group (other captions of the photo) are left out of its ranking.
    """

    def __init__(self, old_texts: Tensor, old_images: Tensor, groups: Tensor) -> None:
        self._texts, self._images, self._groups = old_texts, old_images, groups

    def score(self, images: Tensor, texts: Tensor) -> float:
        """In (0, 1]; higher is better. images, texts: the same pairs as the new model makes them, unit rows."""
        return (
            mean_reciprocal_rank(images, self._texts, self._groups)
            + mean_reciprocal_rank(texts, self._images, self._groups)
        ) / 2


def mean_reciprocal_rank(queries: Tensor, gallery: Tensor, groups: Tensor) -> float:
    """Of row i of the gallery for query i, among the rows of other groups; equal scores count as better ones do not.

    >>> mean_reciprocal_rank(torch.eye(3)[[0, 1, 1]], torch.eye(3), torch.tensor([0, 1, 2]))
    0.8333333730697632
    """
    scores = queries @ gallery.T
    others = groups[:, None] != groups[None, :]
    ranks = 1 + ((scores > scores.diagonal()[:, None]) & others).sum(1)
    return float((1 / ranks).mean())
