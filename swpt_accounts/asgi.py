"""The web server's way in: `gunicorn -c docker/gunicorn.conf.py swpt_accounts.asgi:app`.

gunicorn installs its signal handlers before it imports this. Nothing here may
install others, or workers could not finish their answers when told to stop.
"""

import os

from swpt_accounts import wiring
from swpt_accounts.settings import load

app = wiring.make_web_app(load(os.environ))
