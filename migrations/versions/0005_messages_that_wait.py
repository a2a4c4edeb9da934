"""Messages that cannot be applied yet are written down

A message whose answer from another shard is outstanding, or whose account
somebody else has locked, was held un-acked, or given back to its queue, which
brokers count, and end by dropping it. Now it is written to `waiting_message`,
acked, and tried again when its time has come. What only an operator can decide
about stays in `parked_message`.

A message of another shard is sent on once, through the outbox, with a header
that tells so: `is_forwarded`. A flusher of the version before does not know
the column and sends the message without the header, so that it may be sent on
twice.

Number: 0005, after 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WAITING = """
CREATE TABLE waiting_message (
    debtor_id bigint NOT NULL,
    creditor_id bigint NOT NULL,
    message_type text NOT NULL,
    body_sha256 bytea NOT NULL,
    body bytea NOT NULL,
    reason text NOT NULL,
    awaited_hash bigint,
    attempts_count integer NOT NULL,
    waiting_since timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    CONSTRAINT waiting_message_pkey
        PRIMARY KEY (debtor_id, creditor_id, message_type, body_sha256)
) WITH (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1
)
"""

PARKED = """
CREATE TABLE parked_message (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY CONSTRAINT parked_message_pkey PRIMARY KEY,
    kind text NOT NULL,
    reason text NOT NULL,
    debtor_id bigint,
    creditor_id bigint,
    message_type text,
    body_sha256 bytea NOT NULL,
    body bytea NOT NULL,
    queue text,
    properties bytea,
    parked_at timestamptz NOT NULL
)
"""

INDEXES = (
    """
    CREATE INDEX waiting_message_next_attempt_at_idx ON waiting_message (next_attempt_at)
    WHERE awaited_hash IS NULL
    """,
    """
    CREATE INDEX waiting_message_awaited_hash_idx ON waiting_message (awaited_hash, next_attempt_at)
    WHERE awaited_hash IS NOT NULL
    """,
    "CREATE INDEX parked_message_kind_id_idx ON parked_message (kind, id)",
    """
    CREATE UNIQUE INDEX parked_message_key ON parked_message
    (kind, debtor_id, creditor_id, message_type, body_sha256) WHERE kind <> 'dead_letter'
    """,
)

TABLE_COMMENTS = {
    "waiting_message": "Messages that could neither be applied nor refused yet: they are tried"
    " again when their time has come. A second copy joins the first.",
    "parked_message": "Messages that wait for an operator, in no shard's keeping.",
}

COLUMN_COMMENTS = {
    "waiting_message.debtor_id": "With `creditor_id`, the account that the message is for.",
    "waiting_message.body_sha256": "Tells two messages of one type for one account apart.",
    "waiting_message.awaited_hash": "The sharding hash of the account whose shard has to answer"
    " first; NULL when only time has to pass.",
    "waiting_message.attempts_count": "How often the message was tried in vain.",
    "waiting_message.next_attempt_at": "Not before this moment, and with an `awaited_hash` not"
    " before that shard answers either.",
    "parked_message.kind": "`misrouted`: of another shard, to be sent on. `came_back`: was sent on"
    " and came again. `failed`: alone could not be applied. `dead_letter`: the"
    " stream of dead letters would not take it.",
    "parked_message.body_sha256": "Of the whole body, also where only its beginning was kept.",
    "parked_message.queue": "Of a dead letter: the stream that it is for.",
    "parked_message.properties": "Of a dead letter: its AMQP properties, encoded.",
    "outbox.is_forwarded": "A message of another shard that is sent on, with a header telling so.",
    "undelivered_message.is_forwarded": "As it was in the outbox.",
}


def upgrade() -> None:
    op.execute(WAITING)
    op.execute(PARKED)
    for index in INDEXES:
        op.execute(index)
    for table in ("outbox", "undelivered_message"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN is_forwarded boolean NOT NULL DEFAULT false")
    for table, comment in TABLE_COMMENTS.items():
        op.execute(f"COMMENT ON TABLE {table} IS {literal(comment)}")
    for column, comment in COLUMN_COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS {literal(comment)}")


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def downgrade() -> None:
    raise NotImplementedError(
        "The schema of a ledger only goes forward: mend it with another migration,"
        " or restore a backup."
    )
