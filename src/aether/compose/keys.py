"""What holds the key-encryption key, by the settings."""

from pathlib import Path
from typing import TYPE_CHECKING

from aether.config import Settings
from aether.control.sealing import KeyEncryption, KeyFile

if TYPE_CHECKING:
    pass

KEY_FILE = "kek.json"


def key_file_of(settings: Settings) -> Path:
    """Return where the key-encryption key of one machine lies."""
    return Path(settings.key_file) if settings.key_file else settings.data_dir / KEY_FILE


def key_encryption(settings: Settings) -> KeyEncryption:
    """Return what holds the key-encryption key.

    Raises:
        KeyServiceError: when the key file cannot be used.
    """
    if not settings.bao_url:
        return KeyFile(key_file_of(settings))
    from aether.control.bao import BaoLogin, BaoTransit  # noqa: PLC0415  loaded where it is used: each process starts sooner

    return BaoTransit(
        BaoLogin(
            url=settings.bao_url,
            auth=settings.bao_auth,
            role=settings.bao_role,
            secret_id=settings.bao_secret_id,
            mount=settings.bao_mount,
            key=settings.bao_key,
            ca=settings.bao_ca,
        )
    )
