"""Publish and subscribe within a process.

A message is plain data under a topic. The latest of each topic is kept, so that a newcomer sees the present at once. A
subscriber that does not keep up loses the oldest messages of its queue, never slows the publisher, and is told how many
it lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

QUEUE_LIMIT = 1_000

Message = dict[str, Any]


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

    def publish(self, topic: str, message: Message) -> None:
        """Hand `message` to every subscriber and keep it as the latest of `topic`."""
        self._latest[topic] = message
        for subscription in self._subscriptions:
            subscription.put(topic, message)

    def latest(self, prefix: str) -> dict[str, Message]:
        """Return the latest message of each topic that begins with `prefix`."""
        return {topic: m for topic, m in self._latest.items() if topic.startswith(prefix)}

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
