# ruff: noqa: INP001 - gunicorn loads this file by its path
"""How gunicorn serves the fetch API: `gunicorn -c docker/gunicorn.conf.py swpt_accounts.asgi:app`.

Every variable of this module is a setting of gunicorn.
"""

import os
import signal
import sys

from swpt_accounts import logs
from swpt_accounts.settings import SettingsError, load

try:
    _settings = load(os.environ)
except SettingsError as error:
    sys.stderr.write("\n".join(error.problems) + "\n")
    raise SystemExit(1) from None

# This wins over the environment: it is what the deployment contract names.
_CONTRACTED = {
    "bind": f":{_settings.webserver_port}",
    "workers": _settings.webserver_processes,
}

worker_class = "asgi"
asgi_loop = "uvloop"
# A worker that was told to stop has so long to answer what it has begun to
# answer; supervisord waits somewhat longer.
graceful_timeout = 20
# Its place in the home directory would be the same for two nodes of one user.
control_socket_disable = True
# Lines of gunicorn are lines of ours.
logconfig_dict = logs.configuration(_settings.app_log_level, _settings.app_log_format)
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s bytes %(D)s us "%(f)s" "%(a)s"'

# GUNICORN_KEEPALIVE=5 sets `keepalive`, and so on.
for _name, _value in os.environ.items():
    if _name.startswith("GUNICORN_"):
        globals()[_name.removeprefix("GUNICORN_").lower()] = _value
globals().update(_CONTRACTED)

logs.set_up(_settings.app_log_level, _settings.app_log_format)


def when_ready(server):
    """Let every stop signal end the server gracefully; SIGHUP would begin anew, SIGINT cut off."""

    def end(_number, frame):
        server.signal(signal.SIGTERM, frame)

    signal.signal(signal.SIGHUP, end)
    signal.signal(signal.SIGINT, end)
    # They may have been kept waiting until now (entrypoint.sh).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def post_fork(_server, _worker):
    """Keep the word to stop until it can be heard: before its loop runs, uvloop forgets signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def post_worker_init(worker):
    """Leave it to the server to tell a worker to stop, also when Ctrl-C reaches both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker.loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
