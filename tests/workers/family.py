"""A command whose workers only say who they are, and then do what the test asks of them.

Usage: python -m tests.workers.family COUNT wait|end|fail|stick

Those that wait, wait for a stop signal; of those that stick, the first one never
looks whether it should stop; of the others, the first one ends or fails as soon
as a line can be read from stdin.
"""

import os
import sys
import time
from pathlib import Path

from swpt_accounts.workers import supervisor
from swpt_accounts.workers.stopping import Stopping


def main() -> int:
    count, what = int(sys.argv[1]), sys.argv[2]
    if what == "stick":
        supervisor.STOP_SECONDS = 1.0  # type: ignore[misc]
    first_child = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")

    def work(stopping: Stopping) -> None:
        is_first = count == 1 or first_child.read_text().split()[0] == str(os.getpid())
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        if what == "wait" or not is_first:
            stopping.wait()
            return
        while what == "stick":
            time.sleep(1)
        sys.stdin.readline()
        if what == "fail":
            raise RuntimeError("a defect")

    return supervisor.run(count, work)


if __name__ == "__main__":
    sys.exit(main())
