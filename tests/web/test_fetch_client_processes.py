"""What a client needs of its process: no thread before it is asked, and none that keeps it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from tests.web.clients import LONG, client_of, reachable
from tests.web.scripted_server import response, scripted_server

ROOT = Path(__file__).parents[2]

# No server of names can be put in the place of the machine's own.
NAME_SERVERS_ARE_AWAY = """
import socket, time
socket.getaddrinfo = lambda *_args, **_named: time.sleep(1000)
from swpt_accounts.web.fetch_client import FetchClient
client = FetchClient("http://shard", timeout_seconds=0.1, connections_max=5, cache_size=5)
assert client.gather([(1, 2)], []).reachable == {}
client.close()
"""


def test_a_client_may_be_made_before_a_fork() -> None:
    before = threading.active_count()
    with scripted_server(response(204)) as server, client_of(server.url) as client:
        assert threading.active_count() == before + 1  # The server's.
        child = os.fork()
        if not child:
            facts = client.gather([(1, 2)], [])
            client.close()
            os._exit(0 if facts.reachable == reachable(yes=[2], no=[]) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert client.gather([(1, 3)], []).reachable == reachable(yes=[3], no=[])


def test_a_process_can_end_while_a_name_is_being_looked_up() -> None:
    subprocess.run(
        [sys.executable, "-c", NAME_SERVERS_ARE_AWAY], cwd=ROOT, check=True, timeout=LONG
    )
