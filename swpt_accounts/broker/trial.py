"""Trying messages on fresh connections, whatever they do to a channel."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from swpt_accounts.broker.blame import Blame, blame_for
from swpt_accounts.broker.confirms import Outcome, Verdict
from swpt_accounts.broker.lost import BrokerLost
from swpt_accounts.broker.message import Message
from swpt_accounts.broker.proof import IsWanted, MakePublisher, start_proved

ANSWER_SECONDS: Final = 3.0
"""So long the broker may take to say what becomes of a message, and as long to prove itself."""

_LOOK_SECONDS: Final = 0.1
"""How long it goes unnoticed that this is not wanted any more."""


def try_out(
    make_publisher: MakePublisher, messages: Sequence[Message], is_wanted: IsWanted
) -> list[Outcome]:
    """Publish the messages on as many connections of their own as it takes; return the outcomes.

    Before and after them, the broker has to confirm a message that goes nowhere. If
    it does not, nothing is known about the others, and `BrokerLost` is raised, as
    it is when the broker is not there, or this is not wanted any more.
    When the broker closes the channel, those that it does not name are tried
    again, in halves, until each that it does not bear stands alone.
    """
    outcomes: dict[int, Outcome] = {}
    groups: deque[Sequence[int]] = deque([range(len(messages))])
    while groups:
        group = groups.popleft()
        if not group:
            continue
        blame = _try_group(make_publisher, messages, group, outcomes, is_wanted)
        if blame is None:
            continue
        left = [index for index in group if index not in outcomes]
        named = [
            index
            for index in left
            if blame.names(messages[index].exchange, messages[index].routing_key)
        ]
        if len(left) == 1:
            named = left
        if named:
            outcomes.update(dict.fromkeys(named, Outcome(Verdict.EXPELLED, blame.reason)))
            groups.append([index for index in left if index not in outcomes])
        else:
            middle = len(left) // 2
            groups += left[:middle], left[middle:]
    if any(outcome.verdict is Verdict.UNCONFIRMED for outcome in outcomes.values()):
        start_proved(make_publisher, ANSWER_SECONDS, is_wanted).stop()
    return [outcomes[index] for index in range(len(messages))]


def _try_group(
    make_publisher: MakePublisher,
    messages: Sequence[Message],
    group: Sequence[int],
    outcomes: dict[int, Outcome],
    is_wanted: IsWanted,
) -> Blame | None:
    """Add the outcomes of a group's messages, all of them unless the broker finds fault."""
    publisher = start_proved(make_publisher, ANSWER_SECONDS, is_wanted)
    told = publisher.outcomes()
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        publisher.begin([messages[index] for index in group], group, told)
        while told.awaited_count and is_wanted() and (left := deadline - time.monotonic()) > 0:
            settled = told.take(min(left, _LOOK_SECONDS), enough=len(group))
            outcomes.update((posted.token, posted.outcome) for posted in settled)
        if publisher.blocked_reason:
            raise BrokerLost(publisher.blocked_reason)
    except BrokerLost as lost:
        blame = blame_for(lost)
        if blame is None:
            raise
        return blame
    finally:
        if told.awaited_count:
            publisher.drop("the time is up")
        else:
            publisher.stop()
    silence = Outcome(Verdict.UNCONFIRMED, f"no confirm for {ANSWER_SECONDS:g} seconds")
    for index in group:
        outcomes.setdefault(index, silence)
    return None
