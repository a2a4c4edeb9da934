"""How Hypothesis plays: the same plays each time in continuous integration, new ones elsewhere."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

PLAY: Final = settings(
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
