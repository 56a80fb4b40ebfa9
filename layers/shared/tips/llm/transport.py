"""The HTTP transport under every model call; imports httpx, so `tips.llm.gateway` imports it with LiteLLM."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from tips.llm.failures import Heard, error_codes, heard_of_this_call
from tips.llm.streams import connect

MAX_BODY = 1_000_000
"""Bytes of an answer that are read."""
_MAX_ERROR_BODY = 65_536


class CallFailed(httpx.NetworkError):
    """A call failed; what is known of it is in `Heard`.

    No kind of error that LiteLLM or OpenAI's client makes a second call for, or an answer of, whatever the status.
    """


class OneCallTransport(httpx.AsyncBaseTransport):
    """Opens a connection per call and writes down what the server said.

    A kept connection would belong to one event loop, and would be dead after Lambda froze the process.
    """

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        self._verify = verify

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole answer, never more than `MAX_BODY`; raises `CallFailed` for 4xx and 5xx too."""
        heard = heard_of_this_call.get(Heard())
        heard.sent = True
        request.headers["Connection"] = "close"
        request.headers["Accept-Encoding"] = "identity"  # so that the bytes that are counted are those there are
        asked = _as_core(request)
        try:
            async with await self._connection(asked, _proxy(request.url)) as connection:
                response = await connection.handle_async_request(asked)
                heard.connected = True
                heard.status = response.status
                heard.headers = headers = httpx.Headers(response.headers)
                is_error = response.status >= 400
                body = await _read(response, _MAX_ERROR_BODY if is_error else MAX_BODY)
        except httpcore.TimeoutException:
            heard.timed_out = True
            raise httpx.TimeoutException("no answer in time", request=request) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
            heard.connected = heard.connected or not isinstance(error, httpcore.ConnectError | httpcore.ProxyError)
            raise CallFailed("no answer, or one that was cut off", request=request) from None
        if is_error:
            heard.codes = error_codes(body)
            raise CallFailed(f"status {response.status}", request=request)
        heard.complete = True
        if len(body) > MAX_BODY:
            raise CallFailed("the answer is too long", request=request)
        return httpx.Response(response.status, headers=headers, content=body)

    async def _connection(
        self, request: httpcore.Request, proxy: httpcore.Proxy | None
    ) -> httpcore.AsyncHTTP11Connection | httpcore.AsyncConnectionPool:
        tls = tls_context() if self._verify is True else self._verify or httpx.create_ssl_context(verify=False)
        if proxy is not None:
            return httpcore.AsyncConnectionPool(tls, proxy)
        return await connect(request.url.origin, tls, request.extensions.get("timeout", {}).get("connect"))


def _as_core(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        request.method,
        httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.content,
        extensions=request.extensions,
    )


async def _read(response: httpcore.Response, limit: int) -> bytes:
    """Return the body as it was sent, or something longer than `limit` of one that is longer."""
    body = b""
    try:
        async with asyncio.timeout(None) as reading:
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > limit:
                    # Ended from within, so that nothing under it is left half read: leaving the loop would do that.
                    reading.reschedule(0)
    except TimeoutError:
        if len(body) <= limit:
            raise
    return body


@cache
def tls_context() -> ssl.SSLContext:
    """Return the one context of the process: reading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context()


def _proxy(url: httpx.URL) -> httpcore.Proxy | None:
    """Return the forward proxy that the environment names for `url`."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host):
        return None
    named = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    return httpcore.Proxy(str(named.url), named.raw_auth, ssl_context=named.ssl_context)
