"""One word to the broker settles many deliveries, but never one that was not meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swpt_accounts.broker.settlement import Outstanding

BATCHES = st.lists(
    st.tuples(st.integers(0, 6), st.lists(st.booleans(), min_size=40, max_size=40)), max_size=12
)


@given(BATCHES)
def test_the_broker_settles_exactly_what_was_meant(batches):
    outstanding = Outstanding()
    at_broker: set[int] = set()
    next_tag = 1
    for delivered_count, choices in batches:
        new = range(next_tag, next_tag + delivered_count)
        next_tag += delivered_count
        outstanding.add(new)
        at_broker |= set(new)
        chosen = [t for t, is_chosen in zip(sorted(at_broker), choices, strict=False) if is_chosen]
        up_to, singly = outstanding.settle(chosen[::-1])
        settled_at_broker = set(singly)
        if up_to is not None:
            settled_at_broker |= {tag for tag in at_broker if tag <= up_to}
        assert settled_at_broker == set(chosen)
        assert len(singly) == len(set(singly))
        at_broker -= settled_at_broker
        assert len(outstanding) == len(at_broker)


@pytest.mark.parametrize(
    ("settled_before", "chosen", "words"),
    [
        ([], [1, 2, 3, 4, 5], (5, [])),
        ([], [1, 2, 4, 5], (2, [4, 5])),
        ([], [2, 3], (None, [2, 3])),
        ([1, 3], [2, 4], (4, [])),
        ([2], [1, 4], (1, [4])),
        ([], [], (None, [])),
    ],
)
def test_few_words_suffice(settled_before, chosen, words):
    outstanding = Outstanding()
    outstanding.add([1, 2, 3, 4, 5])
    outstanding.settle(settled_before)
    assert outstanding.settle(chosen) == words


@pytest.mark.parametrize("tag", [1, 3, 0, -1])
def test_a_delivery_is_not_settled_twice_nor_on_the_wrong_connection(tag):
    outstanding = Outstanding()
    outstanding.add([1, 2])
    outstanding.settle([1])
    with pytest.raises(ValueError, match="settled before"):
        outstanding.settle([2, tag])
