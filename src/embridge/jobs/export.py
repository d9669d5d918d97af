"""An upgrade for where embridge does not run: the work of ``embridge export``."""

from __future__ import annotations

from pathlib import Path

from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.export import fold, query_path, to_onnx

__all__ = ["export_upgrade"]


def export_upgrade(
    upgrade: Path | str, *, onnx: Path | str | None = None, fold_into: str | None = None, out: Path | str | None = None
) -> dict[str, Path]:
    """Write the query path of a saved upgrade as ONNX, folded into an encoder, or both.

    Args:
        upgrade: The upgrade's folder.
        onnx: The ONNX file to write.
        fold_into: The encoder to fold the bridge into, named as `embridge.encoders.load` takes it.
        out: The folder for the folded encoder.

    Returns:
        What was written, by kind.

    Raises:
        SettingsError: There is nothing to write, no folder for what is folded, or a LoRA that cannot be folded.

    Examples:
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> folder = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")).save("upgrade")
        >>> export_upgrade(folder, onnx="bridge.onnx")
        {'onnx': PosixPath('bridge.onnx')}
    """
    if onnx is None and fold_into is None:
        raise SettingsError(
            "nothing to write: name a file with --onnx FILE, or an encoder with --fold and --out FOLDER"
        )
    if (fold_into is None) != (out is None):
        raise SettingsError(
            "--fold PROVIDER:MODEL and --out FOLDER go together: what to fold into, and where to write it"
        )
    saved = Upgrade.load(upgrade)
    if fold_into is not None and saved.lora is not None:
        raise SettingsError(
            "the bridge of an upgrade with a LoRA cannot be folded into the new model, which has none; write the bridge as "
            "ONNX (--onnx FILE) beside the model with the LoRA"
        )
    path = query_path(saved)
    written = {}
    if onnx is not None:
        written["onnx"] = to_onnx(path, onnx)
    if fold_into is not None and out is not None:
        written["folded"] = fold(path, fold_into, out)
    return written
