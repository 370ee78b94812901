"""Passwords: argon2id with OWASP's parameters, checked away from the event loop and few at a time.

A sign-in with an unknown address checks a password too, so that it takes as long as one with a known address.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from aether.control.strength import Judge
from aether.domain.errors import InvalidValueError, TooManyAttemptsError

# OWASP Password Storage Cheat Sheet: argon2id, 19 MiB, two passes, one lane.
MEMORY_KIB = 19_456
PASSES = 2
LANES = 1

MIN_LENGTH = 12
MAX_LENGTH = 128
MIN_SCORE = 3
"""Of zxcvbn's 0 to 4: about 10⁸ guesses are not enough."""
AT_ONCE = max(1, (os.cpu_count() or 2) // 2)
"""How many are checked at the same time: half of the cores are left to others, trading above all."""
MOST_WAITING = 40
"""So many more may wait for that, about a second; a stranger's hundreds would hold places for connections meanwhile."""
OWN_WORDS = ("aether", "trading", "bitcoin", "kraken", "binance", "coinbase")
"""Words that are easily guessed here."""


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._nobodys = self._hasher.hash("nobody's password")
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._judge = Judge()

    async def check(self, password: str, *context: str) -> None:
        """Refuse a password that is easily guessed (NIST SP 800-63B: length and lists, no composition rules).

        Args:
            context: what it must not be made of, like the address and the name.

        Raises:
            InvalidValueError: saying why.
            TooManyAttemptsError: when many are being judged.
        """
        problem = ""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            problem = f"The password has {len(password)} characters"
        else:
            parts = [word for text in context for word in text.replace("@", " ").replace(".", " ").split()]
            score, warning = await self._judge.score(password, [*OWN_WORDS, *context, *parts])
            if score < MIN_SCORE:
                why = warning.rstrip(".") or "It is easily guessed"
                problem = f"The password is too weak: {why[0].lower()}{why[1:]}"
        if problem:
            raise InvalidValueError(
                f"{problem}.", remedy=f"Choose {MIN_LENGTH} to {MAX_LENGTH} characters; a few random words do well."
            )

    async def hash(self, password: str) -> str:
        """Return the hash to store. Raises TooManyAttemptsError when many wait already."""
        async with self._in_turn():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def matches(self, stored: str | None, password: str) -> bool:
        """Return whether `password` is the one that was hashed; None and empty stand for nobody's.

        Raises:
            TooManyAttemptsError: when many wait already.
        """
        async with self._in_turn():
            found = await asyncio.to_thread(self._verify, stored or self._nobodys, password)
        return found and bool(stored)

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise TooManyAttemptsError(
                "Many passwords are being checked.", remedy="Try again; a passkey needs no password.", retry_after_s=2.0
            )
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerifyMismatchError, VerificationError, InvalidHashError):
            return False

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters."""
        return self._hasher.check_needs_rehash(stored)
