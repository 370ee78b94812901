"""Second factors: one-time codes (TOTP, RFC 6238), passkeys (WebAuthn), and recovery codes.

Pure checks over what the database holds; `identity.py` reads and writes it.
"""

import hashlib
import secrets
from typing import Any

import msgspec
import pyotp
import segno
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import options_to_json_dict
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

ISSUER = "Aether"
TOTP_STEP_S = 30
TOTP_WINDOW = 1
"""Steps that a clock may be off, either way."""
RECOVERY_CODES = 10
RECOVERY_GROUPS = 5
"""Of five characters each: 122 bits, so that a plain hash is enough to store (ASVS 6.5.2)."""
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def digest(secret: str) -> str:
    """Return what is stored of a random secret of high entropy."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_token() -> str:
    """Return a random secret with 256 bits."""
    return secrets.token_urlsafe(32)


# One-time codes.


def new_totp_seed() -> str:
    """Return a seed, base32."""
    return pyotp.random_base32()


def totp_uri(seed: str, email: str) -> str:
    """Return what an authenticator app reads."""
    return pyotp.TOTP(seed).provisioning_uri(name=email, issuer_name=ISSUER)


def qr_svg(text: str) -> str:
    """Return a QR code as a data URI of an SVG picture, dark on light in any theme."""
    return str(segno.make(text, error="m").svg_data_uri(scale=5, border=3, dark="#0d1117", light="#ffffff"))


def qr_terminal(text: str) -> str:
    """Return a QR code in half blocks for a terminal."""
    rows = [[bool(cell) for cell in row] for row in segno.make(text, error="l").matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(blocks[cells] for cells in zip(top, low, strict=True)) for top, low in pairs)


def totp_step_of(seed: str, code: str, now_s: float, last_step: int) -> int | None:
    """Return the time step that a code belongs to, however it was spaced; None when it is wrong or was used."""
    totp, code = pyotp.TOTP(seed), code.replace(" ", "")
    now = int(now_s) // TOTP_STEP_S
    for step in range(now - TOTP_WINDOW, now + TOTP_WINDOW + 1):
        if secrets.compare_digest(totp.at(step * TOTP_STEP_S).encode(), code.encode()) and step > last_step:
            return step
    return None


# Recovery codes.


def new_recovery_codes() -> list[str]:
    """Return codes for a drawer: each works once."""
    return [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(RECOVERY_GROUPS))
        for _ in range(RECOVERY_CODES)
    ]


def recovery_digest(code: str) -> str:
    """Return what is stored of a recovery code, however it was typed."""
    return digest("".join(c for c in code.upper() if c in _ALPHABET))


# Passkeys.


class Site(msgspec.Struct, frozen=True):
    """Where passkeys belong to.

    Attributes:
        rp_id: the host's name.
        origins: what pages may ask for them.
    """

    rp_id: str
    origins: tuple[str, ...]


class Passkey(msgspec.Struct, frozen=True):
    """A passkey as stored."""

    id: bytes
    public_key: bytes
    sign_count: int


def registration_options(site: Site, handle: bytes, email: str, name: str, known: list[bytes]) -> dict[str, Any]:
    """Return what a browser needs to make a passkey, with a fresh challenge in it."""
    made = generate_registration_options(
        rp_id=site.rp_id,
        rp_name=ISSUER,
        user_id=handle,
        user_name=email,
        user_display_name=name,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=k) for k in known],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
    )
    return options_to_json_dict(made)


def authentication_options(site: Site, known: list[bytes]) -> dict[str, Any]:
    """Return what a browser needs to use a passkey; without known ones the person chooses."""
    made = generate_authentication_options(
        rp_id=site.rp_id,
        allow_credentials=[PublicKeyCredentialDescriptor(id=k) for k in known] or None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json_dict(made)


def registered(site: Site, challenge: str, credential: dict[str, Any]) -> Passkey | None:
    """Return the passkey that a browser made for `challenge`, None when it is not one."""
    try:
        found = verify_registration_response(
            credential=credential,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=site.rp_id,
            expected_origin=list(site.origins),
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return None
    return Passkey(found.credential_id, found.credential_public_key, found.sign_count)


def credential_id(credential: dict[str, Any]) -> bytes:
    """Return which passkey a browser's answer names; empty when it names none."""
    try:
        return base64url_to_bytes(str(credential["rawId"]))
    except (KeyError, ValueError):
        return b""


def sign_count_of(site: Site, challenge: str, credential: dict[str, Any], passkey: Passkey) -> int | None:
    """Return the passkey's new counter when the answer to `challenge` is its own, else None."""
    try:
        found = verify_authentication_response(
            credential=credential,
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=site.rp_id,
            expected_origin=list(site.origins),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        return None
    return found.new_sign_count
