"""The live runtime: one single-writer shard per account, its journal, recovery, market feeds and operator requests.

`shard` is the loop that everything turns on, `committer` makes batches durable, `recovery` brings an account back,
`feeds` bring the market, `requests` bring operators' decisions, `runtime` puts them together.
"""
