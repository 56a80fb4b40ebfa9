"""nats-py's client, made such that no message can stop the connection on which it comes.

A server stores whatever block of headers and nearly whatever subject it is sent. With some of them nats-py stops
reading for good, or closes the connection, and again whenever they are delivered.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import nats.errors
import nats.protocol.parser
from nats.aio.client import Client
from nats.aio.msg import Msg

if TYPE_CHECKING:
    from bridge.settings import Settings
    from tips.ingest.handover import Headers

_VERSION = b"NATS/1.0"
_STATUS_DIGITS = 3
_OF_A_CONSUMER = b"$JS.ACK."

# Lines parted as the server parts them: a subject may hold any byte but these. nats-py's own expressions end it at
# other white space as well, and it takes the line for a breach of the protocol.
nats.protocol.parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\n]+)[ \t]+(\d+)[ \t]+(([^ \t\n]+)[ \t]+)?(\d+)\r\n")
nats.protocol.parser.HMSG_RE = re.compile(
    rb"\AHMSG[ \t]+([^ \t\n]+)[ \t]+(\d+)[ \t]+(([^ \t\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)


class ReadingEnded(nats.errors.Error):
    """nothing reads from the connection any more"""

    def __str__(self) -> str:
        return str(self.__doc__)


@dataclass
class StreamMsg(Msg):
    """A message of a stream, as a consumer delivers it.

    carried: the headers it was published with. `headers` is None, because nats-py takes a `Status` there for an answer
    of the server.
    """

    carried: Headers = field(default_factory=dict)


class StreamClient(Client):
    """A client that delivers every message, whatever is in its subject and headers, and closes when it reads no more.

    Messages that a consumer delivers are `StreamMsg`.
    """

    async def _process_headers(self, headers: bytes | None) -> Any:
        return headers_of(headers) if headers else None

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Msg:
        named: dict[str, Any] = {
            "subject": subject.decode("utf-8", "replace"),
            "reply": reply.decode("utf-8", "replace"),
            "data": data,
        }
        if reply.startswith(_OF_A_CONSUMER):
            return StreamMsg(_client=self, _sid=sid, **named, carried=headers or {})
        return Msg(_client=self, _sid=sid, **named, headers=headers)

    async def _read_loop(self) -> None:
        await super()._read_loop()
        # It ends with the connection, and also at any fault of its own: then nobody else would notice.
        if self.is_connected:
            fault = ReadingEnded()
            await self._error_cb(fault)
            await self._process_op_err(fault)


def headers_of(block: bytes) -> dict[str, str | list[str]]:
    """Return the headers in a block of them, as far as they can be read: a list where a name has several values.

    The status and description of an answer of the server are headers as well. What is not UTF-8 becomes U+FFFD.
    """
    read: dict[str, str | list[str]] = {}

    def add(name: bytes, value: bytes) -> None:
        key, text = (part.strip().decode("utf-8", "replace") for part in (name, value))
        if key:
            known = read.get(key)
            if known is None:
                read[key] = text
            elif isinstance(known, list):
                known.append(text)
            else:
                read[key] = [known, text]

    for number, line in enumerate(block.split(b"\r\n")):
        if number == 0 and line.startswith(_VERSION):
            answer = line.removeprefix(_VERSION).strip()
            status, description = answer[:_STATUS_DIGITS], answer[_STATUS_DIGITS:].strip()
            if status.isdigit():
                add(b"Status", status)
                if description:
                    add(b"Description", description)
            continue
        name, colon, value = line.partition(b":")
        if colon:
            add(name, value)
    return read


def described(error: BaseException) -> str:
    """Return kind and text of a fault, the server's own where it gave one; no text of one holds a credential."""
    text = getattr(error, "description", None) or str(error)
    return f"{type(error).__name__}{': ' if text else ''}{text}"[:200]


def connect_options(settings: Settings, server: str) -> dict[str, Any]:
    """Return what `connect` needs for one server: its address, and certificates and credentials, which are decoded."""
    address = urlsplit(server)
    options: dict[str, Any] = {
        # Without user and password, so that no fault can show them.
        "servers": address._replace(netloc=address.netloc.rpartition("@")[2]).geturl(),
        "user_credentials": settings.creds,
        "nkeys_seed": settings.nkey_seed,
        **_login(unquote(address.username or ""), None if address.password is None else unquote(address.password)),
    }
    if settings.tls_ca or settings.tls_cert or address.scheme == "tls":
        context = ssl.create_default_context(cafile=settings.tls_ca)
        if settings.tls_cert:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        options["tls"] = context
    return {name: value for name, value in options.items() if value is not None}


def _login(user: str, password: str | None) -> Mapping[str, str]:
    if password is not None:
        return {"user": user, "password": password}
    return {"token": user} if user else {}
