"""Calls to the function URLs, as the recommender makes them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx


class ChaosFailed(AssertionError):
    """The run did not come to its end; the text says why."""


class Clients:
    """Calls to one function URL, several at a time. Raises `ChaosFailed` on an answer that is none."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._threads = ThreadPoolExecutor(3)

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def get_all(self, paths: Sequence[str]) -> list[Any]:
        return list(self._threads.map(lambda path: self._answer(self._http.get(path)), paths))

    def post_all(self, path: str, bodies: Sequence[Any]) -> list[Any]:
        return list(self._threads.map(lambda body: self._answer(self._http.post(path, json=body)), bodies))

    def post_until_taken(self, path: str, body: Any) -> int:
        """Post as a client does that is told to come again later; returns how often it had to."""
        retries = 0
        while (answer := self._http.post(path, json=body)).status_code == 503:
            retries += 1
            if retries > 50:
                raise ChaosFailed(f"POST {path} never got through: {answer.text}")
            time.sleep(0.05)
        self._answer(answer)
        return retries

    @staticmethod
    def _answer(answer: httpx.Response) -> Any:
        if answer.status_code != 200:
            raise ChaosFailed(f"{answer.request.url.path} answered {answer.status_code}: {answer.text}")
        return answer.json()
