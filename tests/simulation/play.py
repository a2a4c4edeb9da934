"""How Hypothesis plays: the same plays each time in continuous integration, new ones elsewhere."""

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

PLAY: Final = settings(
    deadline=None,
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# There is nothing to simplify about the number that random traffic begins with.
AS_RECORDED: Final = settings(PLAY, phases=[Phase.explicit, Phase.reuse, Phase.generate])

SECONDS_MAX: Final = 600
"""A play takes a few seconds, but one that has failed is played again, to make it simpler."""
