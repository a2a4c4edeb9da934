"""The application as gunicorn loads it: made once, before workers are forked."""

import os

from swpt_accounts.protocol.sharding import Realm
from swpt_accounts.store.lookups import AccountLookups
from swpt_accounts.web.fetch_api import create_app

lookups = AccountLookups(os.environ["SHARD_URL"], connections_max=3)
app = create_app(lookups, Realm.parse(os.environ["REALM"]))
