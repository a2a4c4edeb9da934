"""What may happen to money.

Everything here is pure: no database, no broker, no clock, no environment, no
logging. Two functions are the way in: `batch.needs_of` tells which rows a
batch of commands may touch, and `batch.apply` decides what becomes of them.
"""
