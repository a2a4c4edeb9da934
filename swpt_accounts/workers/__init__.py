"""Long-running processes: what moves messages through the ledger."""
