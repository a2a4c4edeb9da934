"""A Swaptacular accounting authority. Importing this does nothing."""

__version__ = "0.1.0"
