"""The thread that tries messages goes on, whatever a trial ends with."""

import errno

import pytest

from swpt_accounts.broker.connection import BrokerLost
from swpt_accounts.broker.publisher import Publisher, Verdict
from swpt_accounts.ledger import events
from swpt_accounts.protocol.outgoing import encode
from swpt_accounts.store.outbox import OutboxMessage
from swpt_accounts.workers.destinations import Destination
from swpt_accounts.workers.prober import Prober, Question, Trial
from tests.factories import event
from tests.workers.waiting import SECONDS, eventually


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")],
    ids=["files", "threads"],
)
def test_a_trial_that_cannot_be_made_ends_and_the_next_one_is_made(
    broker_url: str, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    errors = [error, error]

    def make_publisher() -> Publisher:
        if errors:
            raise errors.pop()
        return Publisher(broker_url, confirm_timeout_seconds=SECONDS)

    prober = Prober(make_publisher)
    try:
        for _ in range(2):
            failed = ended(prober)
            assert isinstance(failed.outcomes, BrokerLost)
            assert repr(error) in str(failed.outcomes)
        assert not prober.is_busy
        assert not isinstance(outcomes := ended(prober).outcomes, BrokerLost)
        assert [outcome.verdict for outcome in outcomes] == [Verdict.EXPELLED]  # No such exchange.
    finally:
        prober.stop()
    assert caplog.text.count("Messages cannot be tried") == 1


def ended(prober: Prober) -> Trial:
    """Have a message tried, and wait for the end."""
    row = OutboxMessage(id=1, is_set_aside=True, message=encode(event(events.AccountTransfer)))
    trials: list[Trial] = []
    prober.ask(Trial(None, Question.IS_WELL, [(row, Destination("any"))]))

    def has_ended() -> bool:
        trials.extend(filter(None, [prober.answer()]))
        return bool(trials)

    eventually("the trial has ended", has_ended)
    return trials[0]
