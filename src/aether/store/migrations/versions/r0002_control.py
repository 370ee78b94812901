"""Identity, secrets, governance and audit; database roles and row-level security (requirements A1 to A7).

Roles are groups without login. `aether_node` writes journals and projections, `aether_control` identity, secrets and
audit. Each account has a role of its own that sees that account's rows alone, made by a trigger when the account is;
`aether_desk` is a member of all of them. A login owns nothing and inherits nothing: it must take a role for each
transaction, so a query that forgets to is refused.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ACCOUNT_TABLES = (
    "alerts",
    "balances",
    "configurations",
    "equity",
    "fills",
    "instruments",
    "journal",
    "operator_requests",
    "orders",
    "positions",
    "snapshots",
    "verdicts",
)
"""Tables whose rows belong to an account and are seen by its role."""

SHARED_TABLES = ("bars", "datasets", "trades")
"""Market data: the same for all."""

CONTROL_TABLES = (
    "approvals",
    "challenges",
    "idempotency",
    "invitations",
    "keys",
    "passkeys",
    "plans",
    "proofs",
    "recovery_codes",
    "roles",
    "secrets",
    "sessions",
    "throttles",
    "tokens",
    "users",
)

APPEND_ONLY = ("audit", "checkpoints", "journal")

TABLES = (
    """
    CREATE TABLE account_scopes (
        account TEXT NOT NULL,
        role TEXT NOT NULL,
        PRIMARY KEY (account)
    )
    """,
    """
    CREATE TABLE users (
        id TEXT NOT NULL,
        email TEXT NOT NULL,
        name TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        handle BYTEA NOT NULL,
        totp BYTEA NOT NULL,
        totp_step BIGINT NOT NULL,
        subject TEXT NOT NULL,
        created_ns BIGINT NOT NULL,
        disabled_ns BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE UNIQUE INDEX users_by_email ON users (email)",
    "CREATE UNIQUE INDEX users_by_subject ON users (subject) WHERE subject <> ''",
    """
    CREATE TABLE roles (
        user_id TEXT NOT NULL,
        account TEXT NOT NULL,
        role TEXT NOT NULL,
        PRIMARY KEY (user_id, account)
    )
    """,
    """
    CREATE TABLE passkeys (
        id BYTEA NOT NULL,
        user_id TEXT NOT NULL,
        public_key BYTEA NOT NULL,
        sign_count BIGINT NOT NULL,
        name TEXT NOT NULL,
        created_ns BIGINT NOT NULL,
        used_ns BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE recovery_codes (
        user_id TEXT NOT NULL,
        digest TEXT NOT NULL,
        used_ns BIGINT NOT NULL,
        PRIMARY KEY (user_id, digest)
    )
    """,
    """
    CREATE TABLE sessions (
        id TEXT NOT NULL,
        digest TEXT NOT NULL,
        user_id TEXT NOT NULL,
        method TEXT NOT NULL,
        address TEXT NOT NULL,
        agent TEXT NOT NULL,
        created_ns BIGINT NOT NULL,
        seen_ns BIGINT NOT NULL,
        ended_ns BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE UNIQUE INDEX sessions_by_digest ON sessions (digest)",
    "CREATE INDEX sessions_by_user ON sessions (user_id)",
    """
    CREATE TABLE tokens (
        id TEXT NOT NULL,
        digest TEXT NOT NULL,
        name TEXT NOT NULL,
        permissions JSONB NOT NULL,
        accounts JSONB NOT NULL,
        created_by TEXT NOT NULL,
        created_ns BIGINT NOT NULL,
        expires_ns BIGINT NOT NULL,
        used_ns BIGINT NOT NULL,
        ended_ns BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE UNIQUE INDEX tokens_by_digest ON tokens (digest)",
    """
    CREATE TABLE invitations (
        digest TEXT NOT NULL,
        email TEXT NOT NULL,
        name TEXT NOT NULL,
        roles JSONB NOT NULL,
        created_by TEXT NOT NULL,
        expires_ns BIGINT NOT NULL,
        PRIMARY KEY (digest)
    )
    """,
    """
    CREATE TABLE throttles (
        key TEXT NOT NULL,
        failures INTEGER NOT NULL,
        updated_ns BIGINT NOT NULL,
        blocked_until_ns BIGINT NOT NULL,
        PRIMARY KEY (key)
    )
    """,
    """
    CREATE TABLE challenges (
        digest TEXT NOT NULL,
        purpose TEXT NOT NULL,
        user_id TEXT NOT NULL,
        payload JSONB NOT NULL,
        expires_ns BIGINT NOT NULL,
        PRIMARY KEY (digest)
    )
    """,
    """
    CREATE TABLE proofs (
        digest TEXT NOT NULL,
        user_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        action TEXT NOT NULL,
        payload_hash TEXT NOT NULL,
        method TEXT NOT NULL,
        expires_ns BIGINT NOT NULL,
        used_ns BIGINT NOT NULL,
        PRIMARY KEY (digest)
    )
    """,
    """
    CREATE TABLE keys (
        name TEXT NOT NULL,
        public BYTEA NOT NULL,
        sealed BYTEA NOT NULL,
        created_ns BIGINT NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE secrets (
        account TEXT NOT NULL,
        venue TEXT NOT NULL,
        version BIGINT NOT NULL,
        state TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        permissions JSONB NOT NULL,
        sealed BYTEA NOT NULL,
        created_by TEXT NOT NULL,
        created_ns BIGINT NOT NULL,
        ended_ns BIGINT NOT NULL,
        rotate_by_ns BIGINT NOT NULL,
        PRIMARY KEY (account, venue, version)
    )
    """,
    "CREATE UNIQUE INDEX secrets_active ON secrets (account, venue) WHERE state = 'active'",
    """
    CREATE TABLE secret_uses (
        account TEXT NOT NULL,
        venue TEXT NOT NULL,
        node TEXT NOT NULL,
        version BIGINT NOT NULL,
        loaded_ns BIGINT NOT NULL,
        PRIMARY KEY (account, venue, node)
    )
    """,
    """
    CREATE TABLE plans (
        account TEXT NOT NULL,
        feed TEXT NOT NULL,
        plan JSONB NOT NULL,
        created_ns BIGINT NOT NULL,
        archived_ns BIGINT NOT NULL,
        PRIMARY KEY (account)
    )
    """,
    """
    CREATE TABLE configurations (
        account TEXT NOT NULL,
        version BIGINT NOT NULL,
        document JSONB NOT NULL,
        author TEXT NOT NULL,
        reason TEXT NOT NULL,
        created_ns BIGINT NOT NULL,
        effective_ns BIGINT NOT NULL,
        applied_ns BIGINT NOT NULL,
        PRIMARY KEY (account, version)
    )
    """,
    """
    CREATE TABLE approvals (
        id TEXT NOT NULL,
        action TEXT NOT NULL,
        account TEXT NOT NULL,
        payload JSONB NOT NULL,
        sealed BYTEA NOT NULL,
        summary TEXT NOT NULL,
        reason TEXT NOT NULL,
        requested_by TEXT NOT NULL,
        requested_ns BIGINT NOT NULL,
        expires_ns BIGINT NOT NULL,
        state TEXT NOT NULL,
        decided_by TEXT NOT NULL,
        decided_ns BIGINT NOT NULL,
        decision TEXT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE idempotency (
        actor TEXT NOT NULL,
        key TEXT NOT NULL,
        request TEXT NOT NULL,
        status INTEGER NOT NULL,
        body BYTEA NOT NULL,
        created_ns BIGINT NOT NULL,
        PRIMARY KEY (actor, key)
    )
    """,
    """
    CREATE TABLE audit (
        seq BIGINT NOT NULL,
        ts_ns BIGINT NOT NULL,
        actor TEXT NOT NULL,
        account TEXT NOT NULL,
        action TEXT NOT NULL,
        outcome TEXT NOT NULL,
        payload TEXT NOT NULL,
        hash BYTEA NOT NULL,
        PRIMARY KEY (seq)
    )
    """,
    "CREATE INDEX audit_by_account ON audit (account, seq)",
    """
    CREATE TABLE checkpoints (
        seq BIGINT NOT NULL,
        ts_ns BIGINT NOT NULL,
        document TEXT NOT NULL,
        signature BYTEA NOT NULL,
        PRIMARY KEY (seq)
    )
    """,
)

ROLES = """
DO $$
DECLARE
    wanted TEXT;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['aether_reader', 'aether_desk', 'aether_node', 'aether_control'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object THEN
            NULL;
        END;
    END LOOP;
END $$
"""

MAKE_SCOPE = """
CREATE FUNCTION aether_make_scope(account TEXT) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
DECLARE
    name TEXT := 'aether_' || left(md5(current_database()), 6) || '_' || left(account, 30) || '_' || left(md5(account), 6);
BEGIN
    BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', name);
    EXCEPTION WHEN duplicate_object THEN
        NULL;
    END;
    EXECUTE format('GRANT aether_reader TO %I', name);
    EXECUTE format('GRANT %I TO aether_desk', name);
    INSERT INTO public.account_scopes VALUES (account, name) ON CONFLICT DO NOTHING;
END $$
"""
"""An account's role: its name tells the database too, since roles are shared by all databases of a server."""

ON_ACCOUNT = """
CREATE FUNCTION aether_on_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM public.aether_make_scope(NEW.account);
    RETURN NEW;
END $$
"""

IN_SCOPE = """
CREATE FUNCTION aether_in_scope() RETURNS TEXT[] LANGUAGE sql STABLE
SET search_path = pg_catalog, public AS $$
    SELECT coalesce(array_agg(account), '{}') FROM public.account_scopes WHERE pg_has_role(current_user, role, 'USAGE')
$$
"""

REFUSE_CHANGE = """
CREATE FUNCTION aether_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$
"""


def upgrade() -> None:
    """Create the tables of the control plane, the roles, and the policies."""
    for statement in TABLES:
        op.execute(statement)
    for statement in (ROLES, MAKE_SCOPE, ON_ACCOUNT, IN_SCOPE, REFUSE_CHANGE):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION aether_make_scope(TEXT), aether_on_account() FROM PUBLIC")
    op.execute("GRANT USAGE ON SCHEMA public TO aether_reader, aether_node, aether_control, aether_desk")
    op.execute("GRANT SELECT ON alembic_version TO aether_reader")
    op.execute("GRANT aether_reader TO aether_desk")
    _grant()
    _police()
    for table in ("accounts", "plans"):
        op.execute(
            f"CREATE TRIGGER {table}_make_scope AFTER INSERT ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION aether_on_account()"
        )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION aether_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION aether_refuse_change()"
        )
    for row in op.get_bind().execute(sa.text("SELECT account FROM accounts")):
        op.get_bind().execute(sa.text("SELECT aether_make_scope(:account)"), {"account": row.account})


def _grant() -> None:
    accounts = ", ".join(("accounts", *ACCOUNT_TABLES))
    shared = ", ".join(SHARED_TABLES)
    control = ", ".join(CONTROL_TABLES)
    op.execute(f"GRANT SELECT ON {accounts}, {shared}, account_scopes TO aether_reader")
    op.execute(f"GRANT SELECT ON {accounts}, {shared}, account_scopes, secrets, plans TO aether_node")
    op.execute(
        "GRANT INSERT, UPDATE ON accounts, alerts, balances, equity, fills, instruments, orders, positions, verdicts, "
        "secret_uses TO aether_node"
    )
    op.execute("GRANT SELECT ON secret_uses TO aether_node, aether_control")
    op.execute("GRANT INSERT ON journal TO aether_node")
    op.execute("GRANT INSERT, DELETE ON snapshots TO aether_node")
    op.execute("GRANT UPDATE (applied_seq) ON operator_requests TO aether_node")
    op.execute(f"GRANT INSERT ON {shared} TO aether_node")
    op.execute("GRANT UPDATE ON bars TO aether_node")
    op.execute(
        "GRANT SELECT ON accounts, account_scopes, instruments, configurations, operator_requests, journal TO aether_control"
    )
    op.execute("GRANT INSERT ON operator_requests TO aether_control")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {control}, configurations TO aether_control")
    op.execute(
        "GRANT DELETE ON challenges, idempotency, invitations, passkeys, proofs, recovery_codes, roles, sessions, "
        "throttles TO aether_control"
    )
    op.execute("GRANT SELECT, INSERT ON audit, checkpoints TO aether_control")


def _police() -> None:
    """Let each account's role see its own rows; the node and the control plane all."""
    for table in ("accounts", *ACCOUNT_TABLES):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY in_scope ON {table} FOR SELECT TO aether_reader "
            "USING (account = ANY ((SELECT aether_in_scope())::TEXT[]))"
        )
        op.execute(f"CREATE POLICY of_the_platform ON {table} TO aether_node, aether_control USING (true)")
