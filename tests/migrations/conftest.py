"""A database without any tables, for tests of how tables come to be."""

from collections.abc import Callable

import pytest


@pytest.fixture
def database(make_database: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return make_database()
