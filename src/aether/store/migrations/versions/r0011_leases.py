"""Leases: one node at a time owns a market's accounts; an epoch counts the owners; commits and orders name theirs.

`take_lease`, `hold_lease` and `move_market_head` are what a node asks in one statement with its writes.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

TAKE = """
CREATE FUNCTION take_lease(wanted TEXT, who TEXT, running TEXT, knows TEXT, seconds DOUBLE PRECISION)
RETURNS TABLE (epoch BIGINT, holder TEXT, version TEXT, is_taken BOOLEAN, reason TEXT, left_s DOUBLE PRECISION)
LANGUAGE plpgsql SET search_path = pg_catalog, public SET lock_timeout = '1s' AS $$
#variable_conflict use_column
DECLARE
    last public.leases%ROWTYPE;
    next BIGINT;
BEGIN
    SELECT * INTO last FROM public.leases AS l WHERE l.log = wanted ORDER BY l.epoch DESC LIMIT 1 FOR UPDATE;
    IF FOUND AND last.schema > knows THEN
        RETURN QUERY SELECT last.epoch, last.holder, last.version, false, 'newer', 0.0::DOUBLE PRECISION;
        RETURN;
    END IF;
    IF last.epoch IS NOT NULL AND last.ended_at IS NULL AND last.holder <> who AND last.until > clock_timestamp() THEN
        RETURN QUERY SELECT last.epoch, last.holder, last.version, false, 'held',
            extract(epoch FROM last.until - clock_timestamp())::DOUBLE PRECISION;
        RETURN;
    END IF;
    UPDATE public.leases AS l SET ended_at = clock_timestamp()
    WHERE l.log = wanted AND l.epoch = last.epoch AND l.ended_at IS NULL;
    next := coalesce(last.epoch, 0) + 1;
    INSERT INTO public.leases (log, epoch, holder, version, schema, taken_at, until)
    VALUES (wanted, next, who, running, knows, clock_timestamp(), clock_timestamp() + make_interval(secs => seconds))
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        RETURN QUERY SELECT next, who, running, true, '', seconds;
    ELSE
        RETURN QUERY SELECT l.epoch, l.holder, l.version, false, 'held',
            extract(epoch FROM l.until - clock_timestamp())::DOUBLE PRECISION
        FROM public.leases AS l WHERE l.log = wanted ORDER BY l.epoch DESC LIMIT 1;
    END IF;
END $$
"""
HOLD = """
CREATE FUNCTION hold_lease(wanted TEXT, held BIGINT) RETURNS BOOLEAN
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM FROM public.leases AS l WHERE l.log = wanted AND l.epoch = held AND l.ended_at IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease % of % is over', held, wanted USING ERRCODE = 'AE001';
    END IF;
    RETURN true;
END $$
"""
MOVE = """
CREATE FUNCTION move_market_head(wanted TEXT, before BIGINT, after BIGINT, its_hash BYTEA) RETURNS BOOLEAN
LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO public.market_heads AS h (log, pos, hash) VALUES (wanted, after, its_hash)
    ON CONFLICT (log) DO UPDATE SET pos = excluded.pos, hash = excluded.hash WHERE h.pos = before;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the market log % has gone on from %', wanted, before USING ERRCODE = 'AE002';
    END IF;
    RETURN true;
END $$
"""


def upgrade() -> None:
    """Add the leases, the epoch of an order, and what a node asks in one statement."""
    op.execute("""
    CREATE TABLE leases (
        log TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        holder TEXT NOT NULL,
        version TEXT NOT NULL,
        schema TEXT NOT NULL,
        taken_at TIMESTAMPTZ NOT NULL,
        until TIMESTAMPTZ NOT NULL,
        ended_at TIMESTAMPTZ,
        PRIMARY KEY (log, epoch)
    )
    """)
    op.execute("ALTER TABLE orders ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0")
    for function in (TAKE, HOLD, MOVE):
        op.execute(function)
    op.execute("GRANT SELECT ON leases TO aether_node, aether_control, aether_desk")
    op.execute("GRANT INSERT, UPDATE ON leases TO aether_node")
