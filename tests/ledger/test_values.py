"""Integer limits, sequence numbers, account identifiers (protocol.rst, Common rules)."""

import pytest

from swpt_accounts.ledger.values import (
    MAX_INT32,
    MAX_INT64,
    MIN_INT32,
    MIN_INT64,
    account_id,
    clamp,
    creditors_agent,
    is_later_seqnum,
    next_seqnum,
    parse_account_id,
)


@pytest.mark.parametrize(
    ("new", "old", "is_later"),
    [
        pytest.param(1, 0, True, id="the next number is later"),
        pytest.param(0, 0, False, id="the same number is not later"),
        pytest.param(0, 1, False, id="the number before is not later"),
        pytest.param(MIN_INT32, MAX_INT32, True, id="the lowest follows the highest"),
        pytest.param(MAX_INT32, MIN_INT32, False, id="the highest does not follow the lowest"),
        pytest.param(MAX_INT32, 0, True, id="almost half a circle ahead is later"),
        pytest.param(MIN_INT32, 0, False, id="exactly half a circle ahead is not later"),
        pytest.param(0, MIN_INT32, False, id="exactly half a circle behind is not later either"),
        pytest.param(-1, -2, True, id="negative numbers grow towards zero"),
    ],
)
def test_sequence_numbers_are_compared_on_a_circle(new: int, old: int, is_later: bool) -> None:
    assert is_later_seqnum(new, old) is is_later


@pytest.mark.parametrize(
    ("seqnum", "following"),
    [
        pytest.param(0, 1, id="counts by one"),
        pytest.param(-1, 0, id="passes zero"),
        pytest.param(MAX_INT32, MIN_INT32, id="wraps from the highest to the lowest"),
        pytest.param(MIN_INT32, MIN_INT32 + 1, id="goes on after the wrap"),
    ],
)
def test_the_next_sequence_number(seqnum: int, following: int) -> None:
    assert next_seqnum(seqnum) == following
    assert is_later_seqnum(following, seqnum)


IDENTIFIERS = [
    (0, "0"),
    (2, "2"),
    (-1, "18446744073709551615"),
    (-2, "18446744073709551614"),
    (-7, "18446744073709551609"),
    (MAX_INT64, "9223372036854775807"),
    (MIN_INT64, "9223372036854775808"),
    (-81985531201716217, "18364758542507835399"),
]


@pytest.mark.parametrize(("creditor_id", "text"), IDENTIFIERS)
def test_an_account_identifier_is_the_creditor_id_as_an_unsigned_number(
    creditor_id: int, text: str
) -> None:
    assert account_id(creditor_id) == text
    assert parse_account_id(text) == creditor_id


NOT_CANONICAL = [
    pytest.param("", id="nothing"),
    pytest.param("+5", id="a plus sign"),
    pytest.param("-1", id="a minus sign"),
    pytest.param("-0", id="minus zero"),
    pytest.param("05", id="a leading zero"),
    pytest.param("00", id="two zeros"),
    pytest.param(" 5", id="a space before"),
    pytest.param("5 ", id="a space after"),
    pytest.param("5\n", id="a newline after"),
    pytest.param("5\0", id="a NUL after"),
    pytest.param("5_0", id="an underscore"),
    pytest.param("5.0", id="a fraction"),
    pytest.param("5e0", id="an exponent"),
    pytest.param("0x5", id="hexadecimal digits"),
    pytest.param("٥", id="an Arabic digit"),
    pytest.param("５", id="a full-width digit"),
    pytest.param("²", id="a superscript digit"),
    pytest.param("five", id="a word"),
    pytest.param("18446744073709551616", id="one more than 64 bits"),
    pytest.param("99999999999999999999", id="twenty digits beyond 64 bits"),
    pytest.param("118446744073709551615", id="twenty-one digits"),
    pytest.param("9" * 5000, id="more digits than Python converts"),
]


@pytest.mark.parametrize("text", NOT_CANONICAL)
def test_another_spelling_is_no_account_identifier(text: str) -> None:
    assert parse_account_id(text) is None


@pytest.mark.parametrize(
    ("amount", "contained"),
    [
        (0, 0),
        (MAX_INT64, MAX_INT64),
        (MAX_INT64 + 1, MAX_INT64),
        (10**30, MAX_INT64),
        (-MAX_INT64, -MAX_INT64),
        (MIN_INT64, -MAX_INT64),
        (-(10**30), -MAX_INT64),
    ],
)
def test_amounts_are_contained_symmetrically(amount: int, contained: int) -> None:
    assert clamp(amount) == contained


@pytest.mark.parametrize(
    ("creditor_id", "agent"),
    [
        pytest.param(0x0000020100000001, 0x000002, id="the highest 24 bits"),
        pytest.param(0x000002FFFFFFFFFF, 0x000002, id="the last one of the agent"),
        pytest.param(0x0000030000000000, 0x000003, id="the first one of the next agent"),
        pytest.param(0x000000FFFFFFFFFF, 0, id="no agent"),
        pytest.param(0, 0, id="the root account has no agent"),
        pytest.param(-1, 0xFFFFFF, id="the highest agent has negative ids"),
        pytest.param(MIN_INT64, 0x800000, id="the lowest negative id"),
    ],
)
def test_the_agent_of_a_creditor(creditor_id: int, agent: int) -> None:
    assert creditors_agent(creditor_id) == agent
