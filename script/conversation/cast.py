"""Who takes part in the conversation, under which ids, and in which currency."""

import secrets

from conversation.wire import ROOT_CREDITOR_ID, root_config_data, unsigned

# Debtors agents are given the first 40 bits of their debtors' ids, creditors agents the first 24
# of their creditors'. The rest is drawn anew for each run, so that its accounts are new ones.
_DEBTORS = 0x1234ABCD00 << 24
_CREDITORS = 0x000002 << 40
_NAMES = ("Alice", "Bob", "Carol", "Dave")

INTEREST_RATE = 2.5
_LIMIT = 10**15


class Cast:
    """Who takes part: a debtor with a currency of its own, and creditors by name."""

    def __init__(self, extras_count: int) -> None:
        self.debtor_id = _DEBTORS + secrets.randbelow(2**24)
        first = _CREDITORS + secrets.randbelow(2**30) * 1000
        self.alice, self.bob, self.carol, self.dave = range(first, first + len(_NAMES))
        self.extras = range(first + len(_NAMES), first + len(_NAMES) + extras_count)
        self.names = {ROOT_CREDITOR_ID: "the debtor"}
        self.names |= dict(zip(range(first, first + len(_NAMES)), _NAMES, strict=True))
        self.names |= {extra: f"trader {n}" for n, extra in enumerate(self.extras, start=1)}
        self.config_data = root_config_data(
            rate=INTEREST_RATE,
            limit=_LIMIT,
            info_iri=f"https://currency.example/{unsigned(self.debtor_id)}",
            info_document=b"A currency for demonstrations.",
        )
