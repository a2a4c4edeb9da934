"""A Swaptacular accounting authority. Importing this does nothing."""

__version__ = "0.2.0"
