"""The fixtures that tests of every folder may ask for. Each topic has a file of its own."""

pytest_plugins = ["tests.fix_database", "tests.fix_broker"]
