"""Two nodes for the same accounts: processes, sockets, PostgreSQL and the local exchange, all real (O4)."""
