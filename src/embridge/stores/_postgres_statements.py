"""What a rollout has PostgreSQL do to the table, as statements to read before."""

from __future__ import annotations

from embridge.space import Space
from embridge.stores._postgres_catalog import Held, unescaped
from embridge.stores._postgres_database import Database
from embridge.stores._postgres_documents import PostgresDocuments
from embridge.stores._postgres_tables import adding, dropping
from embridge.stores.documents import Documents

__all__ = ["statements_of"]


def statements_of(database: Database, old: Held, new: Space, documents: Documents) -> tuple[str, ...]:
    """The table of documents, the room for the new vectors, and the end of the old ones, which no backfill brings."""
    made = (documents.creation,) if isinstance(documents, PostgresDocuments) else ()
    end = dropping(old.relation, old.vector.name)
    room = map(unescaped, adding(database, old.relation, old.id, new))
    return (*made, *room, f"/* embridge complete --drop-old */ {end}")
