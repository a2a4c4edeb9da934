"""The benchmark: what a node does in a second, what a transfer costs, how long it takes."""
