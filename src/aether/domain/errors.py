"""Every error that a user can meet, in one small hierarchy.

A message names the value, the rule it broke and what to do about it. `exit_code` is what the command line ends
with, so that scripts can tell causes apart; `docs/reference/exit-codes.md` is generated from this file.
"""

from enum import StrEnum
from typing import ClassVar


class AetherError(Exception):
    """Base of all errors with a message written for a person.

    Args:
        message: what was wrong, with the value and the rule.
        remedy: what the reader should do next, as one imperative sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class InvalidValueError(AetherError):
    """A parameter, setting or number is outside what is allowed."""

    exit_code = 2


class UnknownNameError(AetherError):
    """A strategy, account, instrument, run or data set of that name does not exist."""

    exit_code = 3


class DataFormatError(AetherError):
    """A market-data file cannot be read as any supported format."""

    exit_code = 4


class DataQualityError(AetherError):
    """Market data was read but breaks a rule: order, duplicates, gaps, impossible prices."""

    exit_code = 5


class DataDirectoryError(AetherError):
    """The data directory cannot be used: not writable, or held by another process."""

    exit_code = 6


class PortInUseError(AetherError):
    """The address the server should listen on is taken."""

    exit_code = 7


class DatabaseUnavailableError(AetherError):
    """PostgreSQL cannot be reached."""

    exit_code = 8


class SchemaVersionError(AetherError):
    """The database was written by another version of Aether."""

    exit_code = 9


class JournalCorruptError(AetherError):
    """A journal row does not carry the hash that its content and its predecessor require.

    Args:
        account: the account whose journal is broken.
        seq: the first sequence number that does not verify.
    """

    exit_code = 10

    def __init__(self, account: str, seq: int, reason: str) -> None:
        super().__init__(
            f"The journal of account {account!r} is broken at sequence {seq}: {reason}.",
            remedy="Do not trade this account; restore it from a backup taken before the change, "
            "and keep this database as evidence.",
        )
        self.account = account
        self.seq = seq


class MarketLogCorruptError(AetherError):
    """An event of a market log does not carry the hash that its content and its predecessor require, or is missing."""

    exit_code = 26

    def __init__(self, log: str, pos: int, reason: str) -> None:
        super().__init__(
            f"The market log {log!r} is broken at position {pos}: {reason}.",
            remedy="Do not trade the accounts that follow it; restore it from a backup or an archive taken before the "
            "change, and keep this database as evidence.",
        )


class FencedError(AetherError):
    """Another writer has appended to this account's journal: this process no longer owns the account."""

    exit_code = 11


class MissingExtraError(AetherError):
    """An optional part of Aether is needed and not installed."""

    exit_code = 12


class ReplayMismatchError(AetherError):
    """Replaying a journal did not reproduce what was recorded."""

    exit_code = 13


class SimulationError(AetherError):
    """In a simulated world something was that should not be."""

    exit_code = 27


class ConformanceError(AetherError):
    """A venue does otherwise than its adapter believes."""

    exit_code = 28


class UncleanEndError(AetherError):
    """The platform has stopped, and an account had failed or could not leave its snapshot."""

    exit_code = 14


class Failure(StrEnum):
    """Why a request to a venue failed, as far as it changes what to do next."""

    RETRYABLE = "retryable"
    """Nothing happened; the same request may be sent again."""
    REJECTED = "rejected"
    """The venue understood and refused; sending it again is pointless."""
    NOT_FOUND = "not_found"
    """The venue knows no such order."""
    AUTH = "auth"
    """Key, signature, nonce or permission."""
    CLOCK = "clock"
    """The venue refused the time stamp or the deadline; nothing happened."""
    RATE_LIMIT = "rate_limit"
    """Too many requests; nothing happened."""
    LOCKOUT = "lockout"
    """The venue answers nothing for a while, longer if it is asked on; nothing happened."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """It may have been carried out or not: only a query can tell."""
    VENUE_DOWN = "venue_down"
    """The venue is in maintenance or cannot be reached; nothing happened."""

    @property
    def is_answer(self) -> bool:
        """Whether the venue heard the request and answered it, though with a no."""
        return self in (Failure.REJECTED, Failure.NOT_FOUND)


class VenueError(AetherError):
    """A venue refused a request or could not be reached.

    Args:
        failure: the class of the failure.
        retry_after_s: how long the venue wants us to wait, where it says so.
    """

    exit_code = 15

    def __init__(self, message: str, *, remedy: str, failure: Failure, retry_after_s: float = 0.0) -> None:
        super().__init__(message, remedy=remedy)
        self.failure = failure
        self.retry_after_s = retry_after_s


class UnsupportedError(AetherError):
    """The venue does not offer what was asked for."""

    exit_code = 16


class WithdrawingKeyError(AetherError):
    """The key may withdraw money: no trading system needs that, and none should hold it."""

    exit_code = 17


class AuditBrokenError(AetherError):
    """The audit trail or a signed checkpoint of it does not verify.

    Args:
        seq: the first entry that does not; 0 for a checkpoint itself.
    """

    exit_code = 18

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(
            f"The audit trail is broken at entry {seq}: {reason}.",
            remedy="Keep this database as evidence, compare it with the checkpoints kept elsewhere, and find out who "
            "ruled over it.",
        )
        self.seq = seq


class KeyServiceError(AetherError):
    """The key-encryption key cannot be used: its file or service is away, refuses, or is open to others."""

    exit_code = 19


class InsecureSettingError(AetherError):
    """Production was asked for with a setting that is not safe in it."""

    exit_code = 20


class NotSignedInError(AetherError):
    """Nobody, or somebody else, is signed in."""

    exit_code = 21


class RefusedError(AetherError):
    """The caller may not do this, or the proof of a second factor does not fit."""

    exit_code = 22


class TooManyAttemptsError(AetherError):
    """Too many attempts; later ones are not even looked at.

    Args:
        retry_after_s: when to try again.
    """

    exit_code = 23

    def __init__(self, message: str, *, remedy: str, retry_after_s: float) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_s = retry_after_s


class ConflictError(AetherError):
    """Something else was there first: another decision, another version, another request with the same key."""

    exit_code = 24


class NoAnswerError(AetherError):
    """Another process of the platform does not answer."""

    exit_code = 25


class LedgerError(Exception):
    """The books do not balance, or more is to be locked than is free: a fault of ours, never of a venue."""


def words_of(error: BaseException) -> str:
    """Return an error in a few words for a log: a venue's own, or with its kind what nobody foresaw."""
    return error.message if isinstance(error, VenueError) else f"{type(error).__name__}: {error}"


def unwrapped(error: BaseException) -> BaseException:
    """Return the first Aether error inside a group of errors, however deep; anything else as it is."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    known = error.subgroup(AetherError)
    inner: BaseException = known if known is not None else error
    while known is not None and isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner
