"""The node under measurement: its programs, started as an operator would, with default settings."""

import os
import signal
from pathlib import Path

from bench.peers import Failed, has_node
from bench.programs import STOP_SECONDS, Process, Program, Programs
from embedded import Urls, processes
from steps.environment import ROOT, VENV
from swpt_accounts.settings import reference

_OF_THE_BENCHMARK = {"POSTGRES_URL", "PROTOCOL_BROKER_URL", "CHORES_BROKER_URL"}


class Node(Programs):
    """This project's programs, as they stand in a checkout: commands of docker/entrypoint.sh."""

    def __init__(self, urls: Urls, folder: Path, checkout: Path = ROOT) -> None:
        super().__init__(urls, folder)
        self._entrypoint = checkout / "docker" / "entrypoint.sh"
        self._environment["PYTHONPATH"] = str(checkout)
        path = self._environment.get("PATH", os.defpath)
        self._environment["PATH"] = f"{VENV / 'bin'}{os.pathsep}{path}"

    def configure(self) -> None:
        """Makes tables, exchanges and queues. Refuses servers that somebody's node uses."""
        processes.end_left_over(self._folder, politely=signal.SIGTERM, seconds=STOP_SECONDS)
        if has_node(self.broker_url) or self._has_tables():
            raise Failed(
                "POSTGRES_URL or PROTOCOL_BROKER_URL names servers on which a node has been set up."
                " Thousands of meaningless transfers would be made there. Name an empty database"
                " and an empty virtual host, or none: then private servers are used."
            )
        configured = self.start("configure")
        code = configured.wait(self.ready_seconds)
        self._running.remove(configured)
        if code != 0:
            raise Failed(f"configure ended with code {code}.\n{self.last_words()}")

    def consumers(self, count: int) -> Program:
        return "consume_messages", "-p", str(count)

    def start(self, *command: str) -> Process:
        return super().start(str(self._entrypoint), *command)

    def _has_tables(self) -> bool:
        tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        return self.ask_database(tables) > 0


def chosen_settings() -> dict[str, str]:
    """The settings that the environment changes, and with which the node therefore runs."""
    names = {row.name for row in reference()} - _OF_THE_BENCHMARK
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}
