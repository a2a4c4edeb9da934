"""Tests don't see each other's rows and messages."""

import pika
import psycopg
import pytest
from pika.exceptions import ChannelClosedByBroker

from swpt_accounts.store.connection import connect


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_migrated_database_of_its_own(postgres_url: str, turn: int) -> None:
    with connect(postgres_url, application_name="tests") as session:
        assert session.execute("SELECT count(*) FROM account").fetchone() == (0,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            session.execute("SELECT FROM left_by_a_test")
        session.rollback()
        session.execute("CREATE TABLE left_by_a_test ()")


@pytest.mark.parametrize("turn", range(1, 19))
def test_each_test_has_a_virtual_host_without_a_node(broker_url: str, turn: int) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker_url))
    try:
        with pytest.raises(ChannelClosedByBroker):
            connection.channel().exchange_declare("accounts_in", passive=True)
        with pytest.raises(ChannelClosedByBroker):
            connection.channel().queue_declare("swpt_accounts", passive=True)
        channel = connection.channel()
        channel.exchange_declare("accounts_in", "topic", durable=True)
        channel.queue_declare("swpt_accounts", durable=True)
        channel.queue_bind("swpt_accounts", "accounts_in", "#")
    finally:
        connection.close()
