"""Envelope encryption: each sealed value has a data key of its own, which a key-encryption key wraps.

A value is encrypted with AES-256-GCM under its data key; its context (what it is and whose) and the version of the
format are authenticated, so a sealed value put in another's place, or given out as another version, does not open. Only
wrapped data keys meet the key-encryption key: replacing that
key re-wraps them and leaves the values as they are.
"""

import base64
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aether.clock import utc_text, wall_ns
from aether.domain.errors import KeyServiceError

NONCE_BYTES = 12
KEY_BITS = 256
VERSION = 2
"""Of the format; the first authenticated the context alone."""
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

    async def retire(self, in_use: Collection[str], before_ns: int) -> list[str]:
        """Let go of keys that are not in use and were replaced before that time; return their names.

        Raises KeyServiceError.
        """
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
        data = AESGCM(data_key).encrypt(nonce, value, _authenticated(VERSION, context))
        return _encode(Sealed(VERSION, await self.keys.wrap(data_key, context), nonce, data))

    async def open(self, sealed: bytes, context: str) -> bytes:
        """Return the value that was sealed for `context`. Raises KeyServiceError."""
        return (await self._opened(_parts(sealed, context), context))[1]

    async def _opened(self, parts: Sealed, context: str) -> tuple[bytes, bytes]:
        """Return data key and value. Raises KeyServiceError."""
        try:
            data_key = await self.keys.unwrap(parts.data_key, context)
            return data_key, AESGCM(data_key).decrypt(parts.nonce, parts.data, _authenticated(parts.version, context))
        except (InvalidTag, ValueError) as error:
            raise _closed(context) from error

    async def rewrap(self, sealed: bytes, context: str) -> bytes:
        """Return the same value with its data key wrapped by the present key. Raises KeyServiceError."""
        parts = _parts(sealed, context)
        data_key, value = await self._opened(parts, context)
        if parts.version != VERSION:
            return await self.seal(value, context)
        return _encode(msgspec.structs.replace(parts, data_key=await self.keys.wrap(data_key, context)))

    def key_of(self, sealed: bytes, context: str) -> str:
        """Return the name of the key that wraps the data key of the value for `context`. Raises KeyServiceError."""
        names = _parts(sealed, context).data_key.split(":")
        return names[1] if len(names) == 3 else ""

    def is_newest(self, sealed: bytes, context: str, name: str) -> bool:
        """Return whether the key of that name wraps a value of the present format. Raises KeyServiceError."""
        return _parts(sealed, context).version == VERSION and self.key_of(sealed, context) == name


def _authenticated(version: int, context: str) -> bytes:
    return (context if version == 1 else f"{version}|{context}").encode()


def _parts(sealed: bytes, context: str) -> Sealed:
    try:
        parts = _decode(sealed)
    except msgspec.DecodeError as error:
        raise _closed(context) from error
    if not 1 <= parts.version <= VERSION:
        raise KeyServiceError(
            f"A sealed value for {context!r} has the format {parts.version}; this Aether knows 1 to {VERSION}.",
            remedy="Run the version of Aether that sealed it, or restore the value.",
        )
    return parts


def _closed(context: str) -> KeyServiceError:
    return KeyServiceError(
        f"A sealed value does not open for {context!r}.",
        remedy="It was changed, moved, or sealed under another key; restore it or store it anew.",
    )


class KeyFile:
    """The key-encryption key in a file of one machine, for its owner only.

    Old keys stay in the file until nothing is wrapped by them, then their names and the time are left of them;
    `KeyEncryption` for a single machine.

    Args:
        path: made with a new key when missing.
        clock: nanoseconds since 1970.
    """

    name = "key file"

    def __init__(self, path: Path, clock: Callable[[], int] = wall_ns) -> None:
        self.path = path
        self._clock = clock
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._held():
                if not path.exists():
                    self._write(_Kept("k1", {"k1": _new_key()}))
        self._read()

    def _read(self) -> "_Kept":
        try:
            mode = self.path.stat().st_mode
            if mode & OTHERS:
                raise KeyServiceError(
                    f"The key file {self.path} may be used by others: its mode is {stat.S_IMODE(mode):04o}.",
                    remedy=f"Run: chmod 600 {self.path}, and replace the key if somebody may have read it.",
                )
            kept = msgspec.json.decode(self.path.read_bytes(), type=_Kept)
            if kept.current not in kept.keys or any(len(k) * 8 != KEY_BITS for k in kept.keys.values()):
                raise ValueError("it names no key of 256 bits as current")
            return kept
        except (OSError, ValueError) as error:
            raise KeyServiceError(
                f"The key file {self.path} cannot be used: {error}.", remedy="Restore it from its backup."
            ) from error

    def _write(self, kept: "_Kept") -> None:
        """Replace the file at once: a crash leaves the old or the new one."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.encode(kept))
                stream.flush()
                os.fsync(stream.fileno())
            fresh.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise KeyServiceError(
                f"The key file {self.path} cannot be written: {error.strerror}.", remedy="Correct its permissions."
            ) from error

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Let no other process change the file meanwhile."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    async def wrap(self, data_key: bytes, context: str) -> str:
        """Return the data key, encrypted."""
        kept = self._read()
        nonce = secrets.token_bytes(NONCE_BYTES)
        wrapped = nonce + AESGCM(kept.keys[kept.current]).encrypt(nonce, data_key, context.encode())
        return f"file:{kept.current}:{base64.b64encode(wrapped).decode()}"

    async def unwrap(self, wrapped: str, context: str) -> bytes:
        """Return the data key."""
        kept = self._read()
        kind, _, rest = wrapped.partition(":")
        name, _, text = rest.partition(":")
        if kind != "file" or name not in kept.keys:
            gone = f"; it was retired on {kept.retired[name]}" if name in kept.retired else ""
            raise KeyServiceError(
                f"The key {name!r} is not in {self.path.name}{gone}.",
                remedy="Restore the file that held it.",
            )
        data = base64.b64decode(text)
        return AESGCM(kept.keys[name]).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], context.encode())

    async def rotate(self) -> str:
        """Add a new key, which wraps from now on."""
        with self._held():
            kept = self._read()
            name = f"k{1 + max(int(k[1:]) for k in (*kept.keys, *kept.retired))}"
            replaced = {**kept.replaced_ns, kept.current: self._clock()}
            self._write(_Kept(name, {**kept.keys, name: _new_key()}, replaced, kept.retired))
        return name

    async def current(self) -> str:
        """Return the name of the key that wraps now."""
        return self._read().current

    async def retire(self, in_use: Collection[str], before_ns: int) -> list[str]:
        """Remove keys from the file; their names and the time stay in it."""
        with self._held():
            kept = self._read()
            needed = {kept.current, *in_use}
            gone = [k for k in kept.keys if k not in needed and kept.replaced_ns.get(k, 0) < before_ns]
            if gone:
                now = utc_text(self._clock())
                keys = {k: v for k, v in kept.keys.items() if k not in gone}
                replaced = {k: v for k, v in kept.replaced_ns.items() if k not in gone}
                self._write(_Kept(kept.current, keys, replaced, {**kept.retired, **dict.fromkeys(gone, now)}))
        return gone


class _Kept(msgspec.Struct, frozen=True):
    """What a key file holds: keys by name, when they were replaced, and when those that are gone were retired."""

    current: str
    keys: dict[str, bytes]
    replaced_ns: dict[str, int] = {}
    retired: dict[str, str] = {}


def _new_key() -> bytes:
    return AESGCM.generate_key(KEY_BITS)
