"""Which of a store's spaces is meant."""

from __future__ import annotations

from embridge.errors import SettingsError
from embridge.space import Space
from embridge.stores import Store

__all__ = ["held_space"]


def held_space(store: Store, name: str | None, *, where: str, key: str) -> Space:
    """The space of that id, or of that model; the only one where none is named.

    where: what the message calls the store; key: the option or key that names the space. Raises `SettingsError` where no
    space, or more than one, is meant.
    """
    spaces = store.spaces()
    if not spaces:
        raise SettingsError(
            f"{where}: nobody has declared of which model its vectors are; do so first: embridge adopt {where} "
            "--encoder PROVIDER:MODEL"
        )
    meant = [
        space for space in spaces if name is None or name in (space.id, space.model, f"{space.model}@{space.revision}")
    ]
    if len(meant) == 1:
        return meant[0]
    held = "; ".join(f"{space} " for space in spaces).strip()
    if not meant:
        raise SettingsError(f"{where}: {key} {name} is none of the spaces held: {held}")
    raise SettingsError(
        f"{where} holds {len(meant)} spaces{f' {name}' if name else ''}; say which by its id with {key}: {held}"
    )
