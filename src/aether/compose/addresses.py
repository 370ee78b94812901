"""How browsers and this machine reach the web interface."""

import ipaddress
from urllib.parse import urlsplit

from aether.config import Settings
from aether.domain.errors import InvalidValueError

LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")


def public_url_of(settings: Settings, port: int) -> str:
    """Return how browsers reach the platform; passkeys need a name, so this machine is called localhost.

    Raises:
        InvalidValueError: when it would listen to other machines without HTTPS in front.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    if settings.host not in LOCAL_ADDRESSES:
        raise InvalidValueError(
            f"The web interface cannot listen on {settings.host} without an address that browsers use.",
            remedy="Set AETHER_PUBLIC_URL to the https address of the proxy in front, or listen on 127.0.0.1.",
        )
    return f"http://localhost:{port}"


def local_url_of(host: str, port: int) -> str:
    """Return how this machine reaches the platform, past any proxy in front."""
    address = ipaddress.ip_address(host)
    if address.version == 6:
        return f"http://[{'::1' if address.is_unspecified else host}]:{port}"
    return f"http://{'127.0.0.1' if address.is_unspecified else host}:{port}"


def stop_url_of(settings: Settings, port: int) -> str:
    """Return how browsers reach the process of stops; empty when nobody said.

    Raises:
        InvalidValueError: when it has another host name: browsers would not send the session there.
    """
    if settings.stop_url and urlsplit(settings.stop_url).hostname != urlsplit(settings.public_url).hostname:
        raise InvalidValueError(
            f"The stop_url {settings.stop_url!r} has another host name than the public_url {settings.public_url!r}.",
            remedy="Put both behind the same name, on different ports.",
        )
    if settings.stop_url or settings.public_url:
        return settings.stop_url.rstrip("/")
    return f"http://localhost:{port}"
