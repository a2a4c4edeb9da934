"""PostgreSQL: the schema, and the set-based statements that a batch is made of."""
