"""What PostgreSQL says of its extension and of a table, by its catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from embridge.space import Metric
from embridge.stores._postgres_catalog import BESIDE, OWN, Column, Engine, Relation, VectorIndex, quoted

__all__ = ["engine_of", "relation_of"]

_METRICS: dict[str, Metric] = {"cosine": "cosine", "ip": "dot", "l2": "l2"}


def engine_of(connection: Any) -> Engine | None:
    """The extension ``vector`` of a database; None where it has none."""
    found = connection.execute(
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    ).fetchone()
    if found is None:
        return None
    schema, version = found
    oids = connection.execute(
        "SELECT t.typname, t.oid::int8, t.typarray::int8 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
        "WHERE n.nspname = %s AND t.typname IN ('vector', 'halfvec')",
        (schema,),
    ).fetchall()
    connection.execute(f"SELECT '[1]'::{quoted(schema)}.vector", ())  # which loads the library, and its settings
    settings = connection.execute("SELECT name, setting FROM pg_settings WHERE name ~ '^(hnsw|ivfflat)[.]'").fetchall()
    return Engine(schema, version, {name: (oid, array) for name, oid, array in oids}, dict(settings))


_RELATION = """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), ''),
    c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
    (c.relname = %(name)s AND CASE WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid)
                                   ELSE n.nspname = %(schema)s END)
    OR n.nspname || '.' || c.relname = %(name)s)
ORDER BY c.relname = %(name)s DESC LIMIT 1
"""
_COLUMNS = """
SELECT a.attname, coalesce(base.typname, t.typname), format_type(a.atttypid, a.atttypmod),
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
    a.attgenerated = '' AND a.attidentity <> 'a', a.attnotnull,
    CASE WHEN l.collname = 'default' AND l.oid = 100 THEN
        CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')
            WHEN 'b' THEN true WHEN 'i' THEN false ELSE d.datcollate IN ('C', 'POSIX') END
        ELSE coalesce(l.collprovider = 'b' OR (l.collprovider = 'c' AND l.collcollate IN ('C', 'POSIX')), false) END,
    coalesce(l.collisdeterministic, true), coalesce(col_description(a.attrelid, a.attnum), ''),
    coalesce(base.oid, t.oid)::int8, coalesce(base.typtype, t.typtype) = 'e'
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_database d ON d.datname = current_database()
    LEFT JOIN pg_type base ON t.typtype = 'd' AND base.oid = t.typbasetype
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_INDEXES = """
SELECT ic.relname, am.amname, o.opcname, i.indisvalid AND i.indisready, i.indpred IS NOT NULL, i.indnkeyatts,
    a.attname, pg_get_indexdef(i.indexrelid, 1, true), ic.reltuples, coalesce(array_to_string(ic.reloptions, ','), ''),
    i.indisunique AND i.indimmediate, i.indisprimary,
    EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
    JOIN pg_opclass o ON o.oid = i.indclass[0]
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND i.indkey[0] > 0
WHERE i.indrelid = %s ORDER BY ic.relname
"""
_SIDES = """
SELECT c.relname FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND c.relkind = 'r'
    AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = %s) AND d.description = %s
ORDER BY c.relname
"""


def relation_of(connection: Any, name: str, schema: str | None, engine: Engine) -> Relation | None:
    """A table or view by its name, in a schema or wherever the user's search path looks; None where there is none."""
    found = connection.execute(_RELATION, {"name": name, "schema": schema}).fetchone()
    if found is None:
        return None
    oid, schema, name, kind, comment, has_heirs = found  # whose rows are read too, and no index of the table sees them
    rows = connection.execute(_COLUMNS, (oid,)).fetchall()
    columns = {row[0]: _column(row, engine) for row in rows}
    indexes = connection.execute(_INDEXES, (oid,)).fetchall()
    sides = [
        relation_of(connection, side, schema, engine) for (side,) in connection.execute(_SIDES, (oid, BESIDE + name))
    ]
    beside = {column: side for side in sides if side is not None and side.primary for column in side.vectors}
    plain = [row for row in indexes if row[3] and not row[4] and row[5] == 1 and row[6] is not None and row[10]]
    return Relation(
        oid, schema, name, kind, comment == OWN,
        columns | {column: side.columns[column] for column, side in beside.items()},
        unique=frozenset(row[6] for row in plain if not has_heirs),
        filled=frozenset(row[0] for row in rows if row[5]),
        primary=next((row[6] for row in plain if row[11]), None),
        indexes=(
            *filter(None, (_index(row, columns) for row in indexes)),
            *(index for side in beside.values() for index in side.indexes),
        ),
        beside=beside,
        has_heirs=has_heirs,
    )  # fmt: skip


def _column(row: Any, engine: Engine) -> Column:
    name, type_name, word, modifier, written, _, by_code_point, exact, comment, oid, is_enum = row
    is_vector = any(oid == known for known, _ in engine.oids.values())
    dim = modifier if is_vector and modifier > 0 else None
    return Column(name, type_name, word, dim, written, by_code_point, exact, comment, is_vector, is_enum)


def _index(row: Any, columns: Mapping[str, Column]) -> VectorIndex | None:
    name, method, opclass, built, partial, keys, column, definition, rows, options, *_, busy = row
    operand = re.fullmatch(r"(vector|halfvec)_(\w+)_ops", opclass)
    if operand is None or method == "btree":
        return None
    cast = ""
    if column is None:
        column, cast = _cast_column(definition, columns)
    remark = ""
    if not built:
        remark = "is being built" if busy else "was not built to its end; DROP INDEX it and build it again"
    elif partial or keys != 1 or not column:
        remark = (
            f"serves some queries alone ({definition.strip()}{', WHERE …' if partial else ''}); search does not use it"
        )
    lists = re.search(r"lists=(\d+)", options)
    known = int(rows) if rows >= 0 else None
    metric = _METRICS.get(operand[2])
    return VectorIndex(name, method, column or "", cast, metric, remark, known, int(lists[1]) if lists else 100)


def _cast_column(definition: str, columns: Mapping[str, Column]) -> tuple[str, str]:
    """The column and the type of an index on ``column::halfvec(3)``."""
    found = re.fullmatch(
        r"\(*(?P<name>[^()]+?)\)*::(?:[^():]+\.)?(?P<type>(?:half)?vec(?:tor)?\(\d+\))\)*", definition.strip()
    )
    if found is None:
        return "", ""
    names = {name: name for name in columns} | {'"' + name.replace('"', '""') + '"': name for name in columns}
    return names.get(found["name"], ""), found["type"]
