"""Which accounts are ours (protocol.rst, Sharding)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swpt_accounts.protocol.sharding import ROUTING_KEY_BITS_MAX, Groups, Realm, sharding_hash

INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("debtor_id", "creditor_id", "hashed"),
    [
        (123, 456, 138687728),
        (1, 0, 677208045),
        (-2, 0, 2203649948),
        (-(2**63), 2**63 - 1, 48901206),
    ],
)
def test_the_sharding_hash(debtor_id: int, creditor_id: int, hashed: int) -> None:
    assert sharding_hash(debtor_id, creditor_id) == hashed


@pytest.mark.parametrize(
    ("routing_key", "bits", "mask"),
    [
        pytest.param("#", 0, 0, id="everything"),
        pytest.param("0.#", 0, 0x80000000, id="the lower half"),
        pytest.param("1.#", 0x80000000, 0x80000000, id="the upper half"),
        pytest.param("1.0.1.#", 0xA0000000, 0xE0000000, id="an eighth"),
        pytest.param("1." * 20 + "#", 0xFFFFF000, 0xFFFFF000, id="the smallest realm"),
    ],
)
def test_a_realm_has_the_bits_of_its_key(routing_key: str, bits: int, mask: int) -> None:
    realm = Realm.parse(routing_key)
    assert (realm.routing_key, realm.bits, realm.mask) == (routing_key, bits, mask)
    assert ROUTING_KEY_BITS_MAX == 20


@pytest.mark.parametrize(
    ("routing_key", "parent"),
    [
        ("#", "#"),
        ("0.#", "#"),
        ("1.#", "#"),
        ("1.0.1.#", "1.0.#"),
        ("0." * 20 + "#", "0." * 19 + "#"),
    ],
)
def test_the_parent_of_a_realm_lacks_its_last_bit(routing_key: str, parent: str) -> None:
    assert Realm.parse(routing_key).parent == Realm.parse(parent)


def test_the_parent_of_an_eighth_is_a_quarter() -> None:
    parent = Realm.parse("1.0.1.#").parent
    assert (parent.bits, parent.mask) == (0x80000000, 0xC0000000)


@pytest.mark.parametrize(
    ("routing_key", "is_ours"),
    [("#", True), ("0.#", True), ("0.0.0.0.1.#", True), ("1.#", False), ("0.0.0.0.0.#", False)],
)
def test_an_account_belongs_to_the_realm_that_its_hash_begins_with(
    routing_key: str, is_ours: bool
) -> None:
    """The hash of (123, 456) begins with 00001."""
    assert Realm.parse(routing_key).contains(123, 456) is is_ours


@given(INT64, INT64, st.lists(st.sampled_from(["0.", "1."]), max_size=19))
@settings(deadline=None)
def test_two_children_share_what_their_parent_has(
    debtor_id: int, creditor_id: int, groups: list[str]
) -> None:
    prefix = "".join(groups)
    parent = Realm.parse(f"{prefix}#")
    children = [Realm.parse(f"{prefix}{bit}.#") for bit in "01"]
    assert sum(child.contains(debtor_id, creditor_id) for child in children) == parent.contains(
        debtor_id, creditor_id
    )
    assert [child.parent for child in children] == [parent, parent]


@pytest.mark.parametrize(
    "routing_key",
    [
        *("", "*", "0", "1.", "#.", "0#", "0.1", "2.#", "0..#", " #", "# ", "0.#.#", "०.#", "0,#"),
        pytest.param("1." * 21 + "#", id="21 bits"),
    ],
)
def test_another_key_is_refused_with_a_sentence_that_names_it(routing_key: str) -> None:
    with pytest.raises(ValueError, match="is not a queue routing key") as raised:
        Realm.parse(routing_key)
    assert repr(routing_key) in str(raised.value)
    assert "20" in str(raised.value)


@pytest.mark.parametrize(
    ("routing_key", "bits"),
    [("#", 8), ("1.0.1.#", 8), ("1." * 8 + "#", 8), ("1." * 9 + "#", 9), ("0." * 20 + "#", 20)],
)
def test_groups_are_not_larger_than_the_own_realm(routing_key: str, bits: int) -> None:
    assert Groups.fit_for(Realm.parse(routing_key)).bits == bits


@given(INT64, INT64, st.integers(8, 20))
def test_a_group_is_the_realm_of_its_routing_key(
    debtor_id: int, creditor_id: int, bits: int
) -> None:
    groups = Groups(bits)
    routing_key = groups.routing_key(groups.of(debtor_id, creditor_id))
    realm = Realm.parse(routing_key)
    assert realm.mask.bit_count() == bits
    assert realm.contains(debtor_id, creditor_id)
