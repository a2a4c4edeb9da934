"""Questions that shards ask each other over HTTP: the asking, and the answering."""
