"""What folding into any model needs: the new folder, its word on its space, and a check that it makes the vectors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from embridge._plain_text import markdown_text
from embridge.adapters.base import Adapter, normalized
from embridge.atomic_write import atomic_folder
from embridge.encoders._space_file import SPACE_FILE, say_space
from embridge.encoders.base import Encoder, Modality
from embridge.errors import InvalidInput

__all__ = ["Vectors", "folded_folder", "probe", "seal_folder"]

Vectors = dict[Modality, np.ndarray]

_TEXTS = ("a black cat on a roof", "two boats", "a star")
_PICTURES = (3, 40, 56, 3)
_TOLERANCE = 1e-4
_OWN = ("model*.safetensors", "model*.safetensors.index.json", "[0-9]_*/*.safetensors", "[0-9]_*/config.json")


@contextmanager
def folded_folder(path: Path | str) -> Iterator[Path]:
    """A folder to save the folded model in; it takes the name only if the block ends well.

    Only an earlier folded model is replaced, and other files beside it stay; any other folder that is not empty is refused.
    """
    with atomic_folder(path, marker=SPACE_FILE, own=_OWN) as folder:
        yield folder


def probe(encoder: Encoder) -> Vectors:
    """Vectors of a few texts and pictures, as far as the encoder takes them."""
    pictures = np.random.default_rng(0).integers(0, 256, _PICTURES, dtype=np.uint8)
    items: dict[Modality, tuple[str, ...] | np.ndarray] = {"text": _TEXTS, "image": pictures}
    return {modality: encoder.encode(items[modality], modality=modality) for modality in sorted(encoder.modalities)}


def seal_folder(folder: Path, saved: Encoder, bridge: Adapter, before: Vectors) -> None:
    """Check that the saved model makes the bridge's vectors, then write its space and its card.

    saved: the folder's model, loaded; before: what `probe` gave of the model without the bridge. Raises `InvalidInput`
    where the saved model makes other vectors.
    """
    after = probe(saved)
    for modality, rows in before.items():
        expected = normalized(bridge.apply(rows))
        if after[modality].shape != expected.shape or not np.allclose(
            after[modality], expected, rtol=0, atol=_TOLERANCE
        ):
            raise InvalidInput(
                f"the folded model makes other {modality} vectors than encoder and bridge: the model has parts that this "
                "version cannot fold into. Use the upgrade beside the model instead"
            )
    say_space(folder, own=saved.space, said=bridge.target)
    (folder / "README.md").write_text(_card(bridge), encoding="utf-8")


def _card(bridge: Adapter) -> str:
    source, target = markdown_text(str(bridge.source)), markdown_text(str(bridge.target))
    return (
        f"# {markdown_text(bridge.source.model)}, making vectors of {markdown_text(bridge.target.model)}\n\n"
        f"The model {source} with a bridge folded in by embridge. Its vectors are of {target}, as "
        f"`{SPACE_FILE}` says, and search an index of that model as it is. The licence is that of the model.\n"
    )
