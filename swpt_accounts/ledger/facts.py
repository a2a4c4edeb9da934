"""Answers obtained from other shards before a batch is applied."""

import msgspec

from swpt_accounts.ledger.values import AccountKey


class Facts(msgspec.Struct, frozen=True):
    """What other shards said; a key that is absent was not answered, which is not a "no"."""

    reachable: dict[AccountKey, bool] = {}
    # The `config_data` of a currency's root account, or None when there is no such account.
    root_config_data: dict[int, str | None] = {}


NO_FACTS = Facts()
