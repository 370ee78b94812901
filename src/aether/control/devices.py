"""Devices that a person has signed in from: an attack on their password from elsewhere does not lock these out.

A device holds a token, signed for one e-mail address by a key that only the platform has. It proves nobody's identity
and opens nothing; it only has wrong passwords counted for itself. Without one, attempts are counted with everybody's.
"""

import hmac
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NS = 1_000_000_000
KNOWN_S = 90 * 86_400
"""A device that was not signed in from for so long is not known any more."""
LONGEST = 200


class Devices:
    """Issues devices' tokens, and knows them again.

    Args:
        root: from which the key is derived.
        clock: nanoseconds since 1970.
    """

    def __init__(self, root: Ed25519PrivateKey, clock: Callable[[], int]) -> None:
        self._key = HKDF(SHA256(), 32, salt=None, info=b"aether known devices").derive(root.private_bytes_raw())
        self._clock = clock

    def issue(self, email: str, name: str) -> str:
        """Return the token of a device that an address has just signed in from; `name` tells it from others."""
        issued = f"{self._clock() // NS}.{name}"
        return f"{issued}.{self._signature(email, issued)}"

    def knows(self, token: str, email: str) -> bool:
        """Return whether a token is this address's, and not too old."""
        issued, _, signature = token.rpartition(".")
        began, _, _ = issued.partition(".")
        if len(token) > LONGEST or not (began.isascii() and began.isdigit()):
            return False
        if not hmac.compare_digest(signature.encode(), self._signature(email, issued).encode()):
            return False
        return 0 <= self._clock() // NS - int(began) < KNOWN_S

    def _signature(self, email: str, issued: str) -> str:
        return hmac.digest(self._key, f"{email}|{issued}".encode(), "sha256").hex()
