"""What the tests of the command line share."""

import pytest

from swpt_accounts import logs, wiring
from swpt_accounts.cli import signals
from swpt_accounts.settings import reference
from tests.cli.stand_in import ASKED, Wiring


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """What stands for `wiring`, with no settings but those that a test gives."""
    stand_in = Wiring()
    for name in ASKED:
        monkeypatch.setattr(wiring, name, stand_in.function(name))
    # These would change the logs and signals of the process that runs the tests.
    monkeypatch.setattr(logs, "set_up", lambda *_: None)
    monkeypatch.setattr(signals, "end_on_signals", lambda: None)
    for row in reference():
        monkeypatch.delenv(row.name, raising=False)
    return stand_in
