"""The key-encryption key in OpenBao's or Vault's transit engine, through hvac.

Signs in with AppRole or a Kubernetes service account, and again when its token has run out.
"""

import asyncio
import base64
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import hvac
import msgspec
import requests
from hvac.exceptions import Forbidden, InvalidRequest, VaultError

from aether.domain.errors import KeyServiceError

T = TypeVar("T")

TIMEOUT_S = 5
NS = 1_000_000_000
KUBERNETES_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class BaoLogin(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach and sign in to OpenBao.

    Attributes:
        auth: `approle` or `kubernetes`.
        role: the AppRole's role id, or the name of the Kubernetes role.
        secret_id: the AppRole's.
        mount, key: of the transit engine.
        ca: file of the certificate authority; empty for the system's.
        token_file: the Kubernetes service account's token.
    """

    url: str
    auth: str
    role: str
    secret_id: str = ""
    mount: str = "transit"
    key: str = "aether"
    ca: str = ""
    token_file: Path = KUBERNETES_TOKEN


class BaoTransit:
    """`KeyEncryption` by a transit engine."""

    name = "OpenBao transit"

    def __init__(self, login: BaoLogin) -> None:
        self._login = login
        self._client = hvac.Client(url=login.url, timeout=TIMEOUT_S, verify=login.ca or True)
        self._lock = asyncio.Lock()

    def _sign_in(self) -> None:
        login = self._login
        if login.auth == "approle":
            self._client.auth.approle.login(role_id=login.role, secret_id=login.secret_id)
        elif login.auth == "kubernetes":
            token = login.token_file.read_text(encoding="utf-8").strip()
            self._client.auth.kubernetes.login(role=login.role, jwt=token)
        else:
            raise KeyServiceError(f"bao_auth is {login.auth!r}.", remedy="Choose approle or kubernetes.")

    async def _call(self, work: Callable[[Any], T]) -> T:
        """Do `work` with the transit engine, signing in first or again when the token is not good."""

        def attempt() -> T:
            if not self._client.token:
                self._sign_in()
            try:
                return work(self._client.secrets.transit)
            except Forbidden:
                self._sign_in()
                return work(self._client.secrets.transit)

        async with self._lock:
            try:
                return await asyncio.to_thread(attempt)
            except (VaultError, requests.RequestException, OSError) as error:
                self._client.token = None if isinstance(error, Forbidden) else self._client.token
                raise self._away(error) from error

    def _away(self, error: Exception) -> KeyServiceError:
        if isinstance(error, (Forbidden, InvalidRequest)):
            return KeyServiceError(
                f"OpenBao at {self._login.url} refuses: {_in_one_line(error)}.",
                remedy=f"Check the role, its policy on {self._login.mount}/keys/{self._login.key}, and that this key "
                "exists: AETHER_BAO_ROLE, AETHER_BAO_SECRET_ID, AETHER_BAO_MOUNT, AETHER_BAO_KEY.",
            )
        return KeyServiceError(
            f"OpenBao at {self._login.url} is away or sealed: {_in_one_line(error)}.",
            remedy="Start or unseal it; if it is neither, check AETHER_BAO_URL, AETHER_BAO_CA and AETHER_BAO_ROLE. A "
            "platform that runs trades on with the keys in memory.",
        )

    async def wrap(self, data_key: bytes, context: str) -> str:
        """Return the data key, encrypted by the newest version of the key."""
        login = self._login
        found = await self._call(
            lambda transit: transit.encrypt_data(
                name=login.key,
                mount_point=login.mount,
                plaintext=base64.b64encode(data_key).decode(),
                associated_data=base64.b64encode(context.encode()).decode(),
            )
        )
        return str(found["data"]["ciphertext"])

    async def unwrap(self, wrapped: str, context: str) -> bytes:
        """Return the data key."""
        login = self._login
        found = await self._call(
            lambda transit: transit.decrypt_data(
                name=login.key,
                mount_point=login.mount,
                ciphertext=wrapped,
                associated_data=base64.b64encode(context.encode()).decode(),
            )
        )
        return base64.b64decode(found["data"]["plaintext"])

    async def rotate(self) -> str:
        """Add a version of the key, which wraps from now on."""
        login = self._login
        await self._call(lambda transit: transit.rotate_key(name=login.key, mount_point=login.mount))
        return await self.current()

    async def current(self) -> str:
        """Return the newest version of the key."""
        login = self._login
        found = await self._call(lambda transit: transit.read_key(name=login.key, mount_point=login.mount))
        return f"v{found['data']['latest_version']}"

    async def retire(self, in_use: Collection[str], before_ns: int) -> list[str]:
        """Let the service decrypt by no version older than the oldest that is needed."""
        login = self._login
        found = (await self._call(lambda transit: transit.read_key(name=login.key, mount_point=login.mount)))["data"]
        made_s = {int(version): int(made) for version, made in found["keys"].items()}
        latest, lowest = int(found["latest_version"]), int(found["min_decryption_version"])
        fresh = [v for v in made_s if made_s.get(v + 1, 0) * NS >= before_ns]
        needed = min([latest, *fresh, *(int(name[1:]) for name in in_use)])
        if needed <= lowest:
            return []
        await self._call(
            lambda transit: transit.update_key_configuration(
                name=login.key, mount_point=login.mount, min_decryption_version=needed
            )
        )
        return [f"v{version}" for version in range(lowest, needed)]


def _in_one_line(error: Exception) -> str:
    lines = [line.strip(" *\t") for line in str(error).splitlines()]
    return " ".join(filter(None, lines)).removesuffix(".") or type(error).__name__
