"""What PostgreSQL itself says about the tables of a database."""

from typing import Any

import psycopg

# Partitions are left out: their number depends on the day.
_OURS = """
    relnamespace = 'public'::regnamespace AND NOT relispartition AND relname <> 'alembic_version'
"""

_QUESTIONS = {
    "tables": f"""
        SELECT relname, relkind, relpersistence, reloptions, obj_description(oid, 'pg_class'),
               pg_get_partkeydef(oid)
        FROM pg_class WHERE {_OURS} AND relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY relname
    """,
    "columns": f"""
        SELECT relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
               attgenerated, attstorage, attcollation::regcollation::text,
               pg_get_expr(adbin, adrelid), col_description(pg_class.oid, attnum)
        FROM pg_class
        JOIN pg_attribute ON attrelid = pg_class.oid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE {_OURS} AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
        ORDER BY relname, attnum
    """,
    "constraints": f"""
        SELECT relname, conname, contype, convalidated, pg_get_constraintdef(pg_constraint.oid)
        FROM pg_class JOIN pg_constraint ON conrelid = pg_class.oid
        WHERE {_OURS}
        ORDER BY relname, conname
    """,
    "indexes": f"""
        SELECT pg_get_indexdef(indexrelid), indisprimary, indisvalid
        FROM pg_class JOIN pg_index ON indrelid = pg_class.oid
        WHERE {_OURS}
        ORDER BY 1
    """,
    "sequences": """
        SELECT sequencename, data_type::text, start_value, min_value, max_value, increment_by,
               cycle, cache_size
        FROM pg_sequences ORDER BY sequencename
    """,
    "triggers": f"""
        SELECT relname, pg_get_triggerdef(pg_trigger.oid)
        FROM pg_class JOIN pg_trigger ON tgrelid = pg_class.oid
        WHERE {_OURS} ORDER BY 1, 2
    """,
    "functions": """
        SELECT oid::regprocedure::text, prosrc FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace ORDER BY 1
    """,
}


def describe(session: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return everything about the tables that a migration could get wrong."""
    return {kind: session.execute(question).fetchall() for kind, question in _QUESTIONS.items()}
