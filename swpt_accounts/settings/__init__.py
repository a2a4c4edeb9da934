"""What an operator can set: every environment variable, read and checked at once.

`variables` declares them, `readers` turns texts into values, `relations` checks
one against another, `loading` does all of that and reports every problem
together. Nobody else in the project looks at the environment.
"""

from swpt_accounts.settings.loading import SettingsError, load, unused_variables
from swpt_accounts.settings.reference import Row, reference
from swpt_accounts.settings.variables import Settings

__all__ = ["Row", "Settings", "SettingsError", "load", "reference", "unused_variables"]
