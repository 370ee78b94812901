"""Signing in through an OpenID provider: the authorization code flow with PKCE, state and nonce, through Authlib.

The provider's word stands for the password alone; the second factor stays ours.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from aether.clock import wall_s
from aether.control.factors import new_token
from aether.domain.errors import NotSignedInError

TIMEOUT_S = 10.0
LEEWAY_S = 300
ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]


class Started(msgspec.Struct, frozen=True):
    """A sign-in under way: where to send the browser, and what to remember until it comes back."""

    url: str
    state: str
    nonce: str
    verifier: str


class Vouched(msgspec.Struct, frozen=True):
    """Whom the provider vouches for; the address is empty unless the provider has verified it."""

    subject: str
    email: str


class OpenId:
    """One provider.

    Args:
        issuer: as in its discovery document.
        redirect_uri: our callback, as registered there.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        clock: Callable[[], float] = wall_s,
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._metadata: OpenIDProviderMetadata | None = None

    def _client(self) -> OAuth2Session:
        return OAuth2Session(
            client_id=self._client_id,
            client_secret=self._client_secret,
            scope="openid email profile",
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
        )

    async def _discover(self) -> OpenIDProviderMetadata:
        if self._metadata is None:
            found = OpenIDProviderMetadata(await self._get(f"{self._issuer}/.well-known/openid-configuration"))
            if str(found["issuer"]).rstrip("/") != self._issuer:
                raise _refused(f"it calls itself {found['issuer']}")
            self._metadata = found
        return self._metadata

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            answer = await asyncio.to_thread(requests.get, url, timeout=TIMEOUT_S, allow_redirects=False)
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found
        except (requests.RequestException, ValueError) as error:
            raise _refused(f"it cannot be read ({type(error).__name__})") from error

    async def start(self) -> Started:
        """Return where to send the browser. Raises NotSignedInError when the provider is away."""
        metadata = await self._discover()
        verifier, nonce, state = new_token() + new_token(), new_token(), new_token()
        url, _ = self._client().create_authorization_url(
            metadata["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
        )
        return Started(url, state, nonce, verifier)

    async def finish(self, code: str, nonce: str, verifier: str) -> Vouched:
        """Return whom the provider vouches for, once the token's signature and claims hold. Raises NotSignedInError."""
        metadata = await self._discover()
        try:
            tokens = await asyncio.to_thread(
                self._client().fetch_token,
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
                timeout=TIMEOUT_S,
            )
            keys = KeySet.import_key_set(await self._get(metadata["jwks_uri"]))  # type: ignore[arg-type]
            token = jwt.decode(tokens["id_token"], keys, algorithms=ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "values": [metadata["issuer"]]},
                    "aud": {"essential": True, "value": self._client_id},
                    "sub": {"essential": True},
                },
                {"nonce": nonce, "client_id": self._client_id},
            )
            claims.validate(now=self._clock(), leeway=LEEWAY_S)
        except NotSignedInError:
            raise
        except (JoseError, AuthlibBaseError, requests.RequestException, KeyError, ValueError) as error:
            raise _refused(f"its answer does not hold ({type(error).__name__})") from error
        email = str(claims.get("email", "")) if claims.get("email_verified") is True else ""
        return Vouched(f"{metadata['issuer']} {claims['sub']}", email)


def _refused(reason: str) -> NotSignedInError:
    return NotSignedInError(
        f"The OpenID provider did not sign you in: {reason}.", remedy="Try again, or sign in with your password."
    )
