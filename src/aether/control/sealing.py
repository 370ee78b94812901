"""Envelope encryption: each sealed value has a data key of its own, which a key-encryption key wraps.

A value is encrypted with AES-256-GCM under its data key; its context (what it is and whose) is authenticated, so a
sealed value put in another's place does not open. Only wrapped data keys meet the key-encryption key: replacing that
key re-wraps them and leaves the values as they are.
"""

import base64
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aether.domain.errors import KeyServiceError

NONCE_BYTES = 12
KEY_BITS = 256
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyEncryption(Protocol):
    """Holds the key-encryption key and never gives it away."""

    name: str

    async def wrap(self, data_key: bytes, context: str) -> str:
        """Return the data key, encrypted. Raises KeyServiceError."""
        ...

    async def unwrap(self, wrapped: str, context: str) -> bytes:
        """Return the data key. Raises KeyServiceError."""
        ...

    async def rotate(self) -> str:
        """Make a new key-encryption key, which wraps from now on; return its name. Raises KeyServiceError."""
        ...

    async def current(self) -> str:
        """Return the name of the key that wraps now. Raises KeyServiceError."""
        ...


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A sealed value: wrapped data key, nonce, ciphertext with tag."""

    version: int
    data_key: str
    nonce: bytes
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sealed).decode


class Sealer:
    """Seals and opens values with data keys of their own."""

    def __init__(self, keys: KeyEncryption) -> None:
        self.keys = keys

    async def seal(self, value: bytes, context: str) -> bytes:
        """Return `value` sealed for `context`. Raises KeyServiceError."""
        data_key = AESGCM.generate_key(KEY_BITS)
        nonce = secrets.token_bytes(NONCE_BYTES)
        data = AESGCM(data_key).encrypt(nonce, value, context.encode())
        return _encode(Sealed(1, await self.keys.wrap(data_key, context), nonce, data))

    async def open(self, sealed: bytes, context: str) -> bytes:
        """Return the value that was sealed for `context`. Raises KeyServiceError."""
        try:
            parts = _decode(sealed)
            data_key = await self.keys.unwrap(parts.data_key, context)
            return AESGCM(data_key).decrypt(parts.nonce, parts.data, context.encode())
        except (InvalidTag, msgspec.DecodeError, ValueError) as error:
            raise KeyServiceError(
                f"A sealed value does not open for {context!r}.",
                remedy="It was changed, moved, or sealed under another key; restore it or store it anew.",
            ) from error

    async def rewrap(self, sealed: bytes, context: str) -> bytes:
        """Return the same value with its data key wrapped by the present key. Raises KeyServiceError."""
        parts = _decode(sealed)
        data_key = await self.keys.unwrap(parts.data_key, context)
        return _encode(msgspec.structs.replace(parts, data_key=await self.keys.wrap(data_key, context)))


class KeyFile:
    """The key-encryption key in a file of one machine, for its owner only.

    Old keys stay in the file until nothing is wrapped by them; `KeyEncryption` for a single machine.

    Args:
        path: made with a new key when missing.
    """

    name = "key file"

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._write({"current": "k1", "keys": {"k1": _new_key()}})
        self._read()

    def _read(self) -> tuple[str, dict[str, bytes]]:
        try:
            mode = self.path.stat().st_mode
            if mode & OTHERS:
                raise KeyServiceError(
                    f"The key file {self.path} may be used by others: its mode is {stat.S_IMODE(mode):04o}.",
                    remedy=f"Run: chmod 600 {self.path}, and replace the key if somebody may have read it.",
                )
            content = json.loads(self.path.read_bytes())
            keys = {name: base64.b64decode(text) for name, text in content["keys"].items()}
            if content["current"] not in keys or any(len(k) * 8 != KEY_BITS for k in keys.values()):
                raise ValueError("it names no key of 256 bits as current")
            return content["current"], keys
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeyServiceError(
                f"The key file {self.path} cannot be used: {error}.", remedy="Restore it from its backup."
            ) from error

    def _write(self, content: dict[str, object]) -> None:
        """Replace the file at once: a crash leaves the old or the new one."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(json.dumps(content).encode())
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise KeyServiceError(
                f"The key file {self.path} cannot be written: {error.strerror}.", remedy="Correct its permissions."
            ) from error

    async def wrap(self, data_key: bytes, context: str) -> str:
        """Return the data key, encrypted."""
        current, keys = self._read()
        nonce = secrets.token_bytes(NONCE_BYTES)
        wrapped = nonce + AESGCM(keys[current]).encrypt(nonce, data_key, context.encode())
        return f"file:{current}:{base64.b64encode(wrapped).decode()}"

    async def unwrap(self, wrapped: str, context: str) -> bytes:
        """Return the data key."""
        _, keys = self._read()
        kind, _, rest = wrapped.partition(":")
        name, _, text = rest.partition(":")
        if kind != "file" or name not in keys:
            raise KeyServiceError(
                f"The key {name or wrapped[:12]!r} is not in {self.path}.", remedy="Restore the file that held it."
            )
        data = base64.b64decode(text)
        return AESGCM(keys[name]).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], context.encode())

    async def rotate(self) -> str:
        """Add a new key, which wraps from now on."""
        _, keys = self._read()
        name = f"k{1 + max(int(k[1:]) for k in keys)}"
        kept = {k: base64.b64encode(v).decode() for k, v in keys.items()}
        self._write({"current": name, "keys": {**kept, name: _new_key()}})
        return name

    async def current(self) -> str:
        """Return the name of the key that wraps now."""
        return self._read()[0]


def _new_key() -> str:
    return base64.b64encode(AESGCM.generate_key(KEY_BITS)).decode()
