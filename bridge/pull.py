"""Pull requests to one durable consumer, one outstanding at a time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import nats.errors

from bridge.client import StreamMsg

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

EXPIRES_SEC = 10.0
_GRACE_SEC = 2.0
_STOP_SEC = 2.0
_ENDED = {"404", "408"}  # no messages; the request's time is over


class Pull:
    """Asks for messages; hands them to `arrived`, and calls `changed` when its own state has.

    `fault` says why there will be no more of them: the consumer is gone, or nobody answers. nats-py's own `fetch` would
    either hold a first message back until its time-out, or ask several times a second.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        durable: str,
        arrived: Callable[[StreamMsg], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = client.new_inbox()
        self._arrived = arrived
        self._changed = changed
        self._missing = 0
        self._deadline = 0.0
        self._subscription: Any = None
        self._stopped: asyncio.Future[None] | None = None
        self.fault: str | None = None

    async def start(self) -> None:
        # Bounded by what is asked for, so no limit of the client's own may drop anything.
        self._subscription = await self._client.subscribe(
            self._inbox, cb=self._received, pending_msgs_limit=-1, pending_bytes_limit=-1
        )

    @property
    def connected(self) -> bool:
        """Whether its connection lasts; another that was made since brings it nothing."""
        return self._client.is_connected

    @property
    def waits_sec(self) -> float:
        """How long the outstanding request may still bring something; 0 when there is none."""
        return max(0.0, self._deadline - time.monotonic()) if self._missing > 0 else 0.0

    async def ask(self, messages: int) -> None:
        """Ask for up to so many, unless a request is outstanding; raises nats-py's errors."""
        if self.fault is None and self.waits_sec <= 0:
            self._missing = messages
            self._deadline = time.monotonic() + EXPIRES_SEC + _GRACE_SEC
            request = {"batch": messages, "expires": round(EXPIRES_SEC * 1e9)}
            await self._client.publish(self._subject, json.dumps(request).encode(), self._inbox)

    async def stop(self) -> None:
        """Ask for no more; what is on its way still arrives before this returns, if the connection lasts.

        From then on the server has nowhere to deliver to by this pull: what is given back goes to others.
        """
        if self._stopped is None:
            self._stopped = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._stopped)

    async def _stop(self) -> None:
        if self.fault is None:
            self.fault = "stopped"
        try:
            async with asyncio.timeout(_STOP_SEC):  # a connection that breaks meanwhile would not say so
                await self._subscription.drain()
        except (nats.errors.Error, OSError, TimeoutError):
            self._missing = 0  # the connection broke: what was on its way is delivered again

    async def _received(self, msg: Msg) -> None:
        if isinstance(msg, StreamMsg):
            self._missing -= 1
            await self._arrived(msg)
        else:
            said = msg.headers or {}
            status = said.get("Status")
            if status is not None and status != "100":
                self._missing = 0
                if status not in _ENDED:
                    self.fault = f"status {status} {said.get('Description', '')}".strip()
        self._changed()
