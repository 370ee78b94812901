"""Step-up: a fresh proof of a second factor, bound to one person, one action and one request, good once.

The caller proves a factor for the hash of the very request that it is about to send (method, address, body) and gets a
token for it; the token lives two minutes and is used up by the first request that shows it.
"""

import hashlib
from enum import StrEnum

import sqlalchemy as sa

from aether.control.access import Action, Caller
from aether.control.factors import digest, new_token
from aether.domain.errors import RefusedError
from aether.store.control_schema import proofs
from aether.store.database import Scope

NS = 1_000_000_000
PROOF_S = 120


class ProofFault(StrEnum):
    """Why a proof was refused."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    OTHER_USER = "other user"
    OTHER_SESSION = "other session"
    OTHER_ACTION = "other action"
    OTHER_PAYLOAD = "other payload"


class ProofRefusedError(RefusedError):
    """A fresh proof of a second factor is needed for exactly this request."""

    exit_code = 22

    def __init__(self, action: Action, fault: ProofFault, payload_hash: str) -> None:
        super().__init__(
            f"{action.name} needs a fresh proof of a second factor for exactly this request; this one is: {fault}.",
            remedy="Prove it at POST /mfa/proofs with this action and payload_hash, and send the token as X-MFA-Token.",
        )
        self.action = action.name
        self.fault = fault
        self.payload_hash = payload_hash


def payload_hash(method: str, target: str, body: bytes) -> str:
    """Return what a proof is bound to.

    Args:
        target: path with query, as sent.
    """
    return hashlib.sha256(f"{method.upper()}\n{target}\n".encode() + body).hexdigest()


class Proofs:
    """Gives out and uses up proofs."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def issue(self, caller: Caller, action: str, payload: str, method: str, now_ns: int) -> str:
        """Return the token of a proof that was just given."""
        token = new_token()
        row = {
            "digest": digest(token),
            "user_id": caller.id,
            "session_id": caller.session,
            "action": action,
            "payload_hash": payload,
            "method": method,
            "expires_ns": now_ns + PROOF_S * NS,
            "used_ns": 0,
        }
        async with self._scope.begin() as connection:
            await connection.execute(sa.delete(proofs).where(proofs.c.expires_ns < now_ns - 3_600 * NS))
            await connection.execute(sa.insert(proofs), row)
        return token

    async def use(self, caller: Caller, action: Action, payload: str, token: str, now_ns: int) -> None:
        """Use up a proof.

        Raises:
            ProofRefusedError: naming what does not fit; the proof stays unused then.
        """
        if not token:
            raise ProofRefusedError(action, ProofFault.MISSING, payload)
        async with self._scope.begin() as connection:
            query = sa.select(proofs).where(proofs.c.digest == digest(token)).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            fault = (
                ProofFault.UNKNOWN
                if row is None
                else ProofFault.OTHER_USER
                if row.user_id != caller.id
                else ProofFault.OTHER_SESSION
                if row.session_id != caller.session
                else ProofFault.REPLAYED
                if row.used_ns
                else ProofFault.EXPIRED
                if row.expires_ns <= now_ns
                else ProofFault.OTHER_ACTION
                if row.action != action.name
                else ProofFault.OTHER_PAYLOAD
                if row.payload_hash != payload
                else None
            )
            if fault is not None:
                raise ProofRefusedError(action, fault, payload)
            await connection.execute(sa.update(proofs).where(proofs.c.digest == digest(token)).values(used_ns=now_ns))
