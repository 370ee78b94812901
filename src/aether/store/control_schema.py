"""The tables of the control plane: identity, secrets, governance, audit. Part of the schema in `schema.py`.

Times are nanoseconds since 1970 UTC; 0 stands for never.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

from aether.store.schema import metadata


def _text(name: str, *, key: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, primary_key=key, nullable=False)


def _int(name: str, *, key: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _bytes(name: str, *, key: bool = False) -> "sa.Column[bytes]":
    return sa.Column(name, BYTEA, primary_key=key, nullable=False)


def _json(name: str) -> "sa.Column[object]":
    return sa.Column(name, JSONB, nullable=False)


account_scopes = sa.Table("account_scopes", metadata, _text("account", key=True), _text("role"))
"""The database role that sees one account's rows alone; written by a trigger when the account is."""

users = sa.Table(
    "users",
    metadata,
    _text("id", key=True),
    _text("email"),
    _text("name"),
    _text("password_hash"),
    _bytes("handle"),
    _bytes("totp"),
    _int("totp_step"),
    _text("subject"),
    _int("created_ns"),
    _int("disabled_ns"),
    _text("link_held_by"),
    sa.Index("users_by_email", "email", unique=True),
    sa.Index("users_by_subject", "subject", unique=True, postgresql_where=sa.text("subject <> ''")),
)
"""`handle` names the user to authenticators; `totp` is the sealed seed; `subject` is an OIDC issuer and subject;
`link_held_by` was given the link by which the person came in."""

roles = sa.Table(
    "roles", metadata, _text("user_id", key=True), _text("account", key=True), _text("role"), _int("waits_ns")
)
"""Who is what where; the account `*` stands for all. A role that waits, since `waits_ns`, does not count yet."""

passkeys = sa.Table(
    "passkeys",
    metadata,
    _bytes("id", key=True),
    _text("user_id"),
    _bytes("public_key"),
    _int("sign_count"),
    _text("name"),
    _int("created_ns"),
    _int("used_ns"),
)

recovery_codes = sa.Table(
    "recovery_codes", metadata, _text("user_id", key=True), _text("digest", key=True), _int("used_ns")
)

sessions = sa.Table(
    "sessions",
    metadata,
    _text("id", key=True),
    _text("digest"),
    _text("user_id"),
    _text("method"),
    _text("address"),
    _text("agent"),
    _int("created_ns"),
    _int("seen_ns"),
    _int("ended_ns"),
    sa.Index("sessions_by_digest", "digest", unique=True),
    sa.Index("sessions_by_user", "user_id"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    _text("id", key=True),
    _text("digest"),
    _text("name"),
    _json("permissions"),
    _json("accounts"),
    _text("created_by"),
    _int("created_ns"),
    _int("expires_ns"),
    _int("used_ns"),
    _int("ended_ns"),
    sa.Index("tokens_by_digest", "digest", unique=True),
)
"""Tokens of services."""

invitations = sa.Table(
    "invitations",
    metadata,
    _text("digest", key=True),
    _text("email"),
    _text("name"),
    _json("roles"),
    _text("created_by"),
    _int("expires_ns"),
    _text("held_by"),
    sa.Index("invitations_by_email", "email", unique=True),
)

throttles = sa.Table(
    "throttles",
    metadata,
    _text("key", key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    _int("updated_ns"),
    _int("blocked_until_ns"),
)

challenges = sa.Table(
    "challenges",
    metadata,
    _text("digest", key=True),
    _text("purpose"),
    _text("user_id"),
    _json("payload"),
    _int("expires_ns"),
)
"""What was asked and waits for one answer; a row is deleted by whoever answers first."""

proofs = sa.Table(
    "proofs",
    metadata,
    _text("digest", key=True),
    _text("user_id"),
    _text("session_id"),
    _text("action"),
    _text("payload_hash"),
    _text("method"),
    _int("expires_ns"),
    _int("used_ns"),
)

keys = sa.Table("keys", metadata, _text("name", key=True), _bytes("public"), _bytes("sealed"), _int("created_ns"))
"""Signing keys of the platform."""

secrets = sa.Table(
    "secrets",
    metadata,
    _text("account", key=True),
    _text("venue", key=True),
    _int("version", key=True),
    _text("state"),
    _text("fingerprint"),
    _json("permissions"),
    _bytes("sealed"),
    _text("created_by"),
    _int("created_ns"),
    _int("ended_ns"),
    _int("rotate_by_ns"),
    sa.Index("secrets_active", "account", "venue", unique=True, postgresql_where=sa.text("state = 'active'")),
)

secret_uses = sa.Table(
    "secret_uses",
    metadata,
    _text("account", key=True),
    _text("venue", key=True),
    _text("node", key=True),
    _int("version"),
    _int("loaded_ns"),
)
"""Which version each node trades with."""

plans = sa.Table(
    "plans",
    metadata,
    _text("account", key=True),
    _text("feed"),
    _json("plan"),
    _int("created_ns"),
    _int("archived_ns"),
)
"""Accounts that people opened; the node takes them up."""

configurations = sa.Table(
    "configurations",
    metadata,
    _text("account", key=True),
    _int("version", key=True),
    _json("document"),
    _text("author"),
    _text("reason"),
    _int("created_ns"),
    _int("effective_ns"),
    _int("applied_ns"),
)

approvals = sa.Table(
    "approvals",
    metadata,
    _text("id", key=True),
    _text("action"),
    _text("account"),
    _json("payload"),
    _bytes("sealed"),
    _text("summary"),
    _text("reason"),
    _text("requested_by"),
    _int("requested_ns"),
    _int("expires_ns"),
    _text("state"),
    _text("decided_by"),
    _int("decided_ns"),
    _text("decision"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    _text("actor", key=True),
    _text("key", key=True),
    _text("request"),
    sa.Column("status", sa.Integer, nullable=False),
    _bytes("body"),
    _int("created_ns"),
    sa.Column("has_acted", sa.Boolean, nullable=False, server_default=sa.false()),
)

audit = sa.Table(
    "audit",
    metadata,
    _int("seq", key=True),
    _int("ts_ns"),
    _text("actor"),
    _text("account"),
    _text("action"),
    _text("outcome"),
    _text("payload"),
    _bytes("hash"),
    sa.Index("audit_by_account", "account", "seq"),
)

checkpoints = sa.Table(
    "checkpoints", metadata, _int("seq", key=True), _int("ts_ns"), _text("document"), _bytes("signature")
)

CONTROL_CHANNEL = "aether_control"
"""The channel on which changes of secrets, plans and configurations are announced."""
