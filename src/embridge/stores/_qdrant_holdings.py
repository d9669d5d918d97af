"""What a store of Qdrant holds: declarations, and the collections and vectors that they are of."""

from __future__ import annotations

import warnings

from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores._qdrant_columns import known_kinds, start_columns
from embridge.stores._qdrant_described import usable_vector
from embridge.stores._qdrant_engine import ID_KEY, Collection, Engine, VectorInfo
from embridge.stores._qdrant_rows import Rows
from embridge.stores.checks import require_held
from embridge.stores.documents import Documents, change_declarations, declarations
from embridge.stores.places import Declaration, Place

__all__ = ["Holdings"]


class Holdings:
    """Which spaces a store holds, and where.

    Args:
        engine: Of a server or folder.
        name: The collection.
        documents: Where declarations stand.
    """

    def __init__(self, engine: Engine, name: str, documents: Documents) -> None:
        self.name, self.documents = name, documents
        self._open: Engine | None = engine
        self._infos: dict[Place, tuple[VectorInfo, bool]] = {}
        self._declared: dict[Space, Declaration] = {}
        self._own: bool | None = None

    def close(self) -> None:
        """Let go of the engine."""
        self._open = None

    def is_exact(self) -> bool:
        """Whether Qdrant looks at all rows, and by the spaces' own metrics."""
        self._infos.clear()
        for space, declared in self.declarations().items():
            collection = self.engine.collection(declared.place.table)
            info = None if collection is None else collection.vectors.get(declared.place.vector)
            if collection is not None and (
                collection.indexed or (info and info.metric not in (space.metric, "cosine"))
            ):
                return False
        return True

    def adopt(self, declaration: Declaration) -> None:
        """Declare vectors that are there; raises `StoreError` where they do not fit."""
        space, place = declaration.space, declaration.place
        info = self.usable(place)
        if place.id not in ("", ID_KEY if self.is_own() else ""):
            raise StoreError(
                f"{self.name}: points of Qdrant have ids of their own; leave the id column {place.id!r} out"
            )
        if info.dim != space.dim:
            raise StoreError(
                f"{self.name}: vectors {place.vector!r} have {info.dim} dimensions, {space} has {space.dim}; name the model "
                "that made them"
            )
        if info.metric != space.metric:
            warnings.warn(
                f"{self.name}: Qdrant compares the vectors {place.vector!r} by {info.metric}, the space by {space.metric}; "
                "scores are the space's, and near rows may be missed",
                UserWarning,
                stacklevel=4,
            )

        def added(held: dict[Space, Declaration]) -> dict[Space, Declaration]:
            others = [one.space for one in held.values() if one.place == place and one.space != space]
            if others:
                raise StoreError(
                    f"{self.name}: vectors {place.vector!r} are declared as {others[0]}; forget that first (store.forget)"
                )
            return held | {space: declaration}

        self._declared = change_declarations(self.documents, added)

    def add(self, space: Space) -> None:
        """Make room for a space, and declare it; room that someone took away is made again."""
        declared = self.declarations().get(space)
        if declared is not None and declared.adopted:
            return
        place = declared.place if declared else self._room(space)
        self._make(place, space)
        if declared is None:
            declaration = Declaration(space, place, adopted=False)
            self._declared = change_declarations(self.documents, lambda held: {space: declaration} | held)

    def drop(self, space: Space) -> None:
        """Delete a space's vectors; the declaration goes last, so that what was interrupted can be done again."""
        place, engine = self.of(space, "drop_space").place, self.engine
        collection = engine.collection(place.table)
        if collection is not None and place.table != self.name:
            engine.drop(place.table)
        elif collection is not None and place.vector in collection.vectors:
            if not engine.adds_vectors:
                raise StoreError(f"{engine.where} cannot drop one vector of a collection; version 1.18 and later can")
            engine.drop_vector(place.table, place.vector)
        self.undeclare(space)

    @property
    def engine(self) -> Engine:
        if self._open is None:
            raise StoreError(f"the store of {self.name} is closed; open it again")
        return self._open

    def declarations(self) -> dict[Space, Declaration]:
        self._declared = declarations(self.documents)
        return self._declared

    def of(self, space: Space, what: str, *, cached: bool = False) -> Declaration:
        """A space's declaration; where a server would be asked for it, a reader may take the one last seen."""
        held = self._declared if cached and self.engine.remote and space in self._declared else self.declarations()
        require_held(list(held), space, what=what)
        return held[space]

    def undeclare(self, space: Space) -> None:
        self._declared = change_declarations(
            self.documents, lambda held: {one: declared for one, declared in held.items() if one != space}
        )

    def collection(self, name: str) -> Collection:
        collection = self.engine.collection(name)
        if collection is None:
            raise StoreError(f"{self.engine.where} holds no collection {name!r} any more; add its space again")
        return collection

    def usable(self, place: Place) -> VectorInfo:
        tables = {one.place.table for one in self.declarations().values()} | {self.name}
        if place.table not in tables or self.engine.collection(place.table) is None:
            raise StoreError(f"{self.engine.where}: this store is the collection {self.name!r}, not {place.table!r}")
        return usable_vector(self.engine.where, self.collection(place.table), place)

    def info(self, place: Place) -> tuple[VectorInfo, bool]:
        """What Qdrant says of vectors, and whether it looks at all of them; as last seen."""
        if place not in self._infos:
            collection = self.collection(place.table)
            self._infos[place] = usable_vector(self.engine.where, collection, place), not collection.indexed
        return self._infos[place]

    def rows(self, place: Place) -> Rows:
        return Rows(self.engine, place.table, self.is_own())

    def is_own(self) -> bool:
        """Whether ids are texts in the payload: of a collection that this library made."""
        if self._own is None:
            if known_kinds(self.documents, self.name) is not None:
                self._own = True
            elif self.engine.collection(self.name) is not None:
                records, _ = self.engine.scroll(self.name, 1, payload=[ID_KEY])
                self._own = bool(records) and ID_KEY in (records[0].payload or {})
        return bool(self._own)

    def _room(self, space: Space) -> Place:
        """Where vectors of a new space go: beside the others, in a collection of its own where an older server wants that."""
        vector, beside = f"embridge_{space.id}", f"{self.name}__embridge_{space.id}"
        shared = self.engine.adds_vectors or self.engine.collection(self.name) is None
        return Place(self.name if shared else beside, vector)

    def _make(self, place: Place, space: Space) -> None:
        collection = self.engine.collection(place.table)
        if collection is None:
            start_columns(self.documents, place.table)
            self.engine.create(place.table, place.vector, space.dim, space.metric)
        elif place.vector not in collection.vectors:
            self.engine.add_vector(place.table, place.vector, space.dim, space.metric)
