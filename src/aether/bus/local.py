"""Publish, subscribe and ask within a process.

A message is plain data under a topic. The latest of each topic is kept, so that a newcomer sees the present at once. A
subscriber that does not keep up loses the oldest messages of its queue, never slows the publisher, and is told how many
it lost. A question is answered by whoever offered to, in this process or in another (`aether.bus.link`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from aether.clock import monotonic_s
from aether.domain.errors import NoAnswerError

QUEUE_LIMIT = 1_000

Message = dict[str, Any]
Answer = Callable[[Message], Awaitable[Any]]


class Subscription:
    """A subscriber's queue."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, Message]] = deque(maxlen=QUEUE_LIMIT)
        self._ready = asyncio.Event()
        self.lost = 0

    def put(self, topic: str, message: Message) -> None:
        """Add a message; the oldest goes when the queue is full."""
        if len(self._messages) == QUEUE_LIMIT:
            self.lost += 1
        self._messages.append((topic, message))
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[tuple[str, Message]]:
        """Yield messages as they come, without end."""
        while True:
            await self._ready.wait()
            while self._messages:
                yield self._messages.popleft()
            self._ready.clear()


class LocalBus:
    """The bus of one process."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._latest: dict[str, Message] = {}
        self._heard_s: dict[str, float] = {}
        self._answers: dict[str, Answer] = {}

    def publish(self, topic: str, message: Message) -> None:
        """Hand `message` to every subscriber and keep it as the latest of `topic`."""
        self._latest[topic] = message
        self._heard_s[topic] = monotonic_s()
        for subscription in self._subscriptions:
            subscription.put(topic, message)

    def latest(self, prefix: str) -> dict[str, Message]:
        """Return the latest message of each topic that begins with `prefix`."""
        return {topic: m for topic, m in self._latest.items() if topic.startswith(prefix)}

    def age_s(self, topic: str) -> float:
        """Return how long ago the latest message of a topic came; infinite when none ever did."""
        return monotonic_s() - self._heard_s.get(topic, -inf)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Receive everything published while the context is open, the latest of each topic first."""
        subscription = Subscription()
        for topic, message in self._latest.items():
            subscription.put(topic, message)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    def lose(self) -> None:
        """Tell every subscriber that messages were lost before they came here."""
        for subscription in self._subscriptions:
            subscription.lost += 1

    def answer(self, name: str, work: Answer) -> None:
        """Answer questions of a name from now on."""
        self._answers[name] = work

    async def ask(self, name: str, body: Message) -> Any:
        """Return the answer to a question.

        Raises:
            NoAnswerError: when nobody answers it, or not in time.
        """
        work = self._answers.get(name)
        if work is None:
            raise NoAnswerError(f"Nobody answers {name!r} yet.", remedy="Wait until the trading process is up.")
        return await work(body)
