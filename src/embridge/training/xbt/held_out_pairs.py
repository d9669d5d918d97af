"""How a finetuning is judged while it runs: by held-out pairs, without labels and without the old model."""

from __future__ import annotations

from torch import Tensor

from embridge.methods.judges import last_ranks

__all__ = ["HeldOutPairs", "mean_reciprocal_rank"]


class HeldOutPairs:
    """The mean of four mean reciprocal ranks: new images and new captions as queries, on stored and on added galleries.

    An upgraded index holds rows that the old model wrote and, from now on, rows that the bridge writes. The old model is not
    at hand. The surrogate of its rows is ψ₀(f(·)), what the bridge made of the new model without the LoRA, of captions and of
    images alike; they stay fixed. Rows added later are those of the model in training. So the score is of images → captions
    and captions → images, each among surrogates and among new rows. Rows of the query's own group (other captions of the
    photo) are left out of its ranking.

    Args:
        old_texts: Surrogates of the captions, unit rows [n, d_old].
        old_images: Surrogates of the images, unit rows [n, d_old].
        groups: The number of each pair's photo [n].

    Examples:
        >>> import torch
        >>> HeldOutPairs(torch.eye(2), torch.eye(2), torch.arange(2)).score(torch.eye(2), torch.eye(2))
        1.0
    """

    def __init__(self, old_texts: Tensor, old_images: Tensor, groups: Tensor) -> None:
        self._texts, self._images, self._groups = old_texts, old_images, groups

    def score(self, images: Tensor, texts: Tensor) -> float:
        """Score the model in training by its rows of the same pairs.

        Args:
            images: Unit rows [n, d_old].
            texts: Unit rows [n, d_old].

        Returns:
            In (0, 1]; higher is better.
        """
        searches = ((images, self._texts), (images, texts), (texts, self._images), (texts, images))
        return sum(mean_reciprocal_rank(queries, gallery, self._groups) for queries, gallery in searches) / len(
            searches
        )


def mean_reciprocal_rank(queries: Tensor, gallery: Tensor, groups: Tensor) -> float:
    """Give the mean of 1 / rank of row i of the gallery for query i, among the rows of other groups.

    Ties count against it, and NaN ranks last.

    Args:
        queries: Unit rows [n, d].
        gallery: Unit rows [n, d].
        groups: The number of each row's group [n].

    Returns:
        In (0, 1].

    Examples:
        >>> import torch
        >>> mean_reciprocal_rank(torch.eye(2)[[0, 0]], torch.eye(2), torch.tensor([0, 1]))
        0.75
        >>> mean_reciprocal_rank(torch.ones(2, 1), torch.ones(2, 1), torch.tensor([0, 1]))
        0.5
    """
    others = groups[:, None] != groups[None, :]
    return float((1 / last_ranks(queries @ gallery.T, others)).mean())
