"""What is asked about an account of another shard, and what counts as an answer.

Only what looks as protocol.rst (Fetch API) says is an answer. A proxy, or
whoever else is met at a wrong address, has pages of its own for paths that it
does not know, and a "not found" that is believed refuses somebody's payment.
"""

import re
from typing import Final

from swpt_accounts.ledger import root_config
from swpt_accounts.ledger.values import ROOT_CREDITOR_ID, AccountKey, account_id
from swpt_accounts.web.http_get import Response

Question = AccountKey | int
"""Is this account reachable, or: how is this debtor's root account configured?"""

Answer = bool | str | None
"""Whether the account is reachable; or `config_data`, None without a root account."""

_MEDIA_TYPE: Final = "text/plain"
_MAX_AGE: Final = re.compile(r'(?:^|[\s,])max-age="?[0-9]+', re.IGNORECASE)


def account_of(question: Question) -> AccountKey:
    """Return the account that the question is about."""
    return (question, ROOT_CREDITOR_ID) if isinstance(question, int) else question


def path_of(question: Question) -> str:
    """Return the path of the question's URL."""
    debtor_id, creditor_id = account_of(question)
    word = "config" if isinstance(question, int) else "reachable"
    return f"/accounts/{account_id(debtor_id)}/{account_id(creditor_id)}/{word}"


def read(question: Question, response: Response) -> Answer:
    """Return the answer to the question; raise `ValueError` with a sentence when there is none."""
    return _read_config(response) if isinstance(question, int) else _read_reachable(response)


def _read_reachable(response: Response) -> bool:
    if response.status == 204:
        return True
    if response.status == 404:
        _require_not_found(response)
        return False
    raise ValueError(f"status {response.status} instead of 204 or 404")


def _read_config(response: Response) -> str | None:
    if response.status == 200:
        _require_authority(response)
        try:
            config_data = response.body.decode("utf-8")
        except UnicodeDecodeError:
            config_data = None
        if config_data is None or root_config.parse(config_data) is None:
            raise _stranger(response, "its body is neither empty nor valid RootConfigData")
        return config_data
    if response.status == 404:
        _require_not_found(response)
        return None
    raise ValueError(f"status {response.status} instead of 200 or 404")


def _require_not_found(response: Response) -> None:
    _require_authority(response)
    if response.body:
        raise _stranger(response, f"it has a body of {len(response.body)} bytes")


def _require_authority(response: Response) -> None:
    media_type = response.content_type.partition(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        raise _stranger(response, f"its Content-Type is {response.content_type!r}, not text/plain")
    if not _MAX_AGE.search(response.cache_control):
        raise _stranger(response, f"its Cache-Control is {response.cache_control!r}, not max-age=…")


def _stranger(response: Response, reason: str) -> ValueError:
    return ValueError(
        f"a {response.status} that is not from an accounting authority: {reason}."
        " Is FETCH_API_URL right?"
    )
