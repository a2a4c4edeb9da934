"""Tables of a shard

Everything that a shard remembers: the accounts, the transfers that are
prepared but not finalized, the balance changes already received, the outbox
of messages to be published, those of them that could not be delivered, and
the journal of every change of a principal.

All tables are logged ones, because a shard is split by cloning its database
from the write-ahead log. There are no foreign keys: rows that belong together
change together, under the lock of their account's row.

The journal is partitioned by the month in which changes were applied. Here it
gets only the partition for what no month covers; the months themselves are
added, ahead of time, each time the database is configured.

Number: 0001, the first
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CHANGE_IDS = """
CREATE SEQUENCE change_id_seq AS bigint
"""

ACCOUNT = """
CREATE TABLE account (
    debtor_id bigint NOT NULL,
    creditor_id bigint NOT NULL,
    creation_date date NOT NULL,
    last_change_seqnum integer NOT NULL DEFAULT 0,
    last_change_ts timestamptz NOT NULL,
    principal bigint NOT NULL DEFAULT 0,
    interest_rate double precision NOT NULL DEFAULT 0,
    interest double precision NOT NULL DEFAULT 0,
    last_interest_rate_change_ts timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    previous_interest_rate double precision NOT NULL DEFAULT 0,
    last_config_ts timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    last_config_seqnum integer NOT NULL DEFAULT 0,
    negligible_amount double precision NOT NULL DEFAULT 0,
    config_flags integer NOT NULL DEFAULT 0,
    config_data text NOT NULL DEFAULT '',
    debtor_info_iri text NOT NULL DEFAULT '',
    debtor_info_content_type text NOT NULL DEFAULT '',
    debtor_info_sha256 bytea NOT NULL DEFAULT '',
    last_transfer_number bigint NOT NULL DEFAULT 0,
    last_transfer_committed_at timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    last_transfer_id bigint NOT NULL,
    total_locked_amount bigint NOT NULL DEFAULT 0,
    pending_transfers_count integer NOT NULL DEFAULT 0,
    last_journal_number bigint NOT NULL DEFAULT 0,
    is_deleted boolean NOT NULL DEFAULT false,
    is_overflown boolean NOT NULL DEFAULT false,
    pending_account_update boolean NOT NULL DEFAULT false,
    last_update_sent_ts timestamptz NOT NULL,
    last_interest_capitalization_ts timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    last_deletion_attempt_ts timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    CONSTRAINT account_pkey PRIMARY KEY (debtor_id, creditor_id),
    CONSTRAINT account_principal_check CHECK (principal <> '-9223372036854775808'::bigint),
    CONSTRAINT account_interest_rate_check CHECK (
        interest_rate BETWEEN -50 AND 100 AND previous_interest_rate BETWEEN -50 AND 100
    ),
    CONSTRAINT account_interest_check CHECK (interest BETWEEN -1e24 AND 1e24),
    CONSTRAINT account_negligible_amount_check CHECK (
        negligible_amount >= 0 AND negligible_amount < 'Infinity'
    ),
    CONSTRAINT account_total_locked_amount_check CHECK (total_locked_amount >= 0),
    CONSTRAINT account_pending_transfers_count_check CHECK (pending_transfers_count >= 0),
    CONSTRAINT account_last_transfer_number_check CHECK (last_transfer_number >= 0),
    CONSTRAINT account_last_journal_number_check CHECK (last_journal_number >= 0),
    CONSTRAINT account_last_transfer_id_check CHECK (last_transfer_id >= 0),
    CONSTRAINT account_config_data_check CHECK (octet_length(config_data) <= 2000),
    CONSTRAINT account_debtor_info_sha256_check CHECK (
        octet_length(debtor_info_sha256) IN (0, 32)
    )
)
WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
)
"""

PREPARED_TRANSFER = """
CREATE TABLE prepared_transfer (
    debtor_id bigint NOT NULL,
    creditor_id bigint NOT NULL,
    transfer_id bigint NOT NULL,
    coordinator_type varchar(30) NOT NULL,
    coordinator_id bigint NOT NULL,
    coordinator_request_id bigint NOT NULL,
    locked_amount bigint NOT NULL,
    recipient_creditor_id bigint NOT NULL,
    prepared_at timestamptz NOT NULL,
    final_interest_rate_ts timestamptz NOT NULL,
    demurrage_rate double precision NOT NULL,
    deadline timestamptz NOT NULL,
    last_reminder_ts timestamptz,
    CONSTRAINT prepared_transfer_pkey PRIMARY KEY (debtor_id, creditor_id, transfer_id),
    CONSTRAINT prepared_transfer_locked_amount_check CHECK (locked_amount >= 0),
    CONSTRAINT prepared_transfer_demurrage_rate_check CHECK (demurrage_rate BETWEEN -100 AND 0)
)
WITH (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1
)
"""

PREPARED_TRANSFER_COORDINATOR_KEY = """
CREATE UNIQUE INDEX prepared_transfer_coordinator_key ON prepared_transfer
    (debtor_id, creditor_id, coordinator_type, coordinator_id, coordinator_request_id)
"""

REGISTERED_BALANCE_CHANGE = """
CREATE TABLE registered_balance_change (
    debtor_id bigint NOT NULL,
    other_creditor_id bigint NOT NULL,
    change_id bigint NOT NULL,
    committed_at timestamptz NOT NULL,
    CONSTRAINT registered_balance_change_pkey
        PRIMARY KEY (debtor_id, other_creditor_id, change_id)
)
WITH (autovacuum_vacuum_insert_scale_factor = 0.2)
"""

OUTBOX = """
CREATE TABLE outbox (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    lane integer NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    mandatory boolean NOT NULL,
    message_type text NOT NULL,
    debtor_id bigint NOT NULL,
    creditor_id bigint NOT NULL,
    coordinator_type text,
    coordinator_id bigint,
    origin_creditor_id bigint NOT NULL,
    body bytea NOT NULL,
    inserted_at timestamptz NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (id)
)
WITH (
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.1
)
"""

UNDELIVERED_MESSAGE = """
CREATE TABLE undelivered_message (
    id bigint NOT NULL,
    lane integer NOT NULL,
    exchange text NOT NULL,
    routing_key text NOT NULL,
    mandatory boolean NOT NULL,
    message_type text NOT NULL,
    debtor_id bigint NOT NULL,
    creditor_id bigint NOT NULL,
    coordinator_type text,
    coordinator_id bigint,
    origin_creditor_id bigint NOT NULL,
    body bytea NOT NULL,
    inserted_at timestamptz NOT NULL,
    reason text NOT NULL,
    attempts_count integer NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    CONSTRAINT undelivered_message_pkey PRIMARY KEY (id)
)
"""

UNDELIVERED_MESSAGE_NEXT_ATTEMPT = """
CREATE INDEX undelivered_message_next_attempt_at_idx ON undelivered_message (next_attempt_at)
"""

JOURNAL = """
CREATE TABLE journal (
    debtor_id bigint NOT NULL,
    creditor_id bigint NOT NULL,
    creation_date date NOT NULL,
    journal_number bigint NOT NULL,
    applied_at timestamptz NOT NULL,
    committed_at timestamptz NOT NULL,
    amount bigint NOT NULL,
    clipped_amount bigint NOT NULL,
    principal bigint NOT NULL,
    coordinator_type varchar(30) NOT NULL,
    other_creditor_id bigint NOT NULL,
    transfer_id bigint,
    change_id bigint,
    transfer_note_format varchar(8) NOT NULL,
    transfer_note text NOT NULL,
    CONSTRAINT journal_pkey
        PRIMARY KEY (debtor_id, creditor_id, creation_date, journal_number, applied_at),
    CONSTRAINT journal_journal_number_check CHECK (journal_number > 0),
    CONSTRAINT journal_amount_check CHECK (amount <> 0),
    CONSTRAINT journal_reference_check CHECK (transfer_id IS NOT NULL OR change_id IS NOT NULL)
)
PARTITION BY RANGE (applied_at)
"""

JOURNAL_OF_OTHER_TIMES = """
CREATE TABLE journal_default PARTITION OF journal DEFAULT
"""

TABLE_COMMENTS = {
    "account": "Accounts, live and deleted ones.",
    "prepared_transfer": "Transfers that await their FinalizeTransfer message.",
    "registered_balance_change": "Balance changes received from other shards: each is applied"
    " once, however often its message is delivered.",
    "outbox": "Messages written in the transactions that caused them, and deleted when the broker"
    " has confirmed them.",
    "undelivered_message": "Messages that were unroutable or refused, kept out of the others' way"
    " until they can be delivered.",
    "journal": "Every change of a principal, append-only. Partitioned by the month of"
    " `applied_at`, with a default partition for what no month covers.",
}

COLUMN_COMMENTS = {
    "account.principal": "Without the interest. Always the sum of `amount - clipped_amount` of the"
    " account's journal.",
    "account.interest_rate": "In percents.",
    "account.interest": "Accumulated up to `last_change_ts`, not yet added to the principal.",
    "account.previous_interest_rate": "The rate before `last_interest_rate_change_ts`: late"
    " transfers are due interest by both rates.",
    "account.config_flags": "Bit 0: scheduled for deletion.",
    "account.last_transfer_id": "The id of the latest prepared transfer. Begins with the days"
    " since 1970 times 2^40, so that a re-created account never gives an id twice.",
    "account.last_journal_number": "Of the account's latest journal row; no gaps.",
    "account.is_overflown": "A change did not fit wholly into the principal.",
    "account.pending_account_update": "A meaningful change has not been announced by an"
    " AccountUpdate yet.",
    "account.last_update_sent_ts": "When the latest AccountUpdate was written to the outbox.",
    "prepared_transfer.creditor_id": "The sender.",
    "outbox.lane": "Which of the concurrent flushers sends the row: its message type, and a spread"
    " by account.",
    "outbox.origin_creditor_id": "The account that caused the message. After a split, it tells"
    " which of the two shards the message belongs to.",
    "undelivered_message.id": "As it was in the outbox.",
    "undelivered_message.reason": "Why the broker would not take it, last time.",
    "journal.creation_date": "Tells an account from an earlier one of the same ids.",
    "journal.journal_number": "1, 2, 3 and so on for each account, no gaps.",
    "journal.amount": "The change that was asked for.",
    "journal.clipped_amount": "The part of `amount` that did not fit into the principal.",
    "journal.principal": "After the change.",
    "journal.other_creditor_id": "The other party.",
    "journal.transfer_id": "The sender's prepared transfer that was committed.",
    "journal.change_id": "The PendingBalanceChange that joins the two parties' shards.",
}


def upgrade() -> None:
    op.execute(CHANGE_IDS)
    op.execute(ACCOUNT)
    op.execute(PREPARED_TRANSFER)
    op.execute(PREPARED_TRANSFER_COORDINATOR_KEY)
    op.execute(REGISTERED_BALANCE_CHANGE)
    op.execute(OUTBOX)
    op.execute(UNDELIVERED_MESSAGE)
    op.execute(UNDELIVERED_MESSAGE_NEXT_ATTEMPT)
    op.execute(JOURNAL)
    op.execute(JOURNAL_OF_OTHER_TIMES)
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
