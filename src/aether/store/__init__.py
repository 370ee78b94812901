"""PostgreSQL: schema and migrations, the journal, its projections, queries, and the embedded server.

The journal is the truth; every other table of an account can be rebuilt from it and is written in the same transaction.
"""
