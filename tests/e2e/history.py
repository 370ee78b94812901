"""A long history, written where the trading process writes its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg

STATEMENT = """
    INSERT INTO fills (account, order_id, trade_id, seq, ts_ns, instrument, side, price, size, notional, fee, realized,
        liquidity, purpose, strategy)
    SELECT $1, 'made-' || n, 't' || n, $4, $3::bigint + n, 'paper:' || $6::text,
        CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END, 300000, 100000000, 300000000000, 12345678, 0, 'maker', 'entry',
        'made' FROM generate_series($5::bigint, $5::bigint + $2::bigint - 1) AS n
"""
LONG_AGO_NS = 1_600_000_000_000_000_000


def add_fills(
    data_dir: Path, account: str, symbol: str, count: int, *, first: int = 1, from_ns: int = LONG_AGO_NS, seq: int = 0
) -> None:
    """Give an account so many fills, a nanosecond apart."""

    async def run() -> None:
        connection = await asyncpg.connect(f"postgresql://aether@/postgres?host={data_dir / 'postgresql'}")
        await connection.execute("SET ROLE aether_node")
        await connection.execute(STATEMENT, account, count, from_ns, seq, first, symbol)
        await connection.close()

    with ThreadPoolExecutor(1) as pool:  # the browser's loop runs in the caller's thread
        pool.submit(asyncio.run, run()).result()
