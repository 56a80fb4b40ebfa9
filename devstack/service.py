"""The functions as their callers reach them: two function URLs, and Lambda's Invoke API for events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import botocore.session
import httpx

from devstack.events import REGION, jetstream_batch


class ServiceError(Exception):
    """A function did not answer as it should; the message says which and how."""


class HttpService:
    """A client of score, generate and consume. Its methods may be called from several threads."""

    def __init__(self, score_url: str, generate_url: str, invoke_url: str) -> None:
        self._http = httpx.Client(timeout=60, trust_env=False)
        self._score_url = score_url
        self._generate_url = generate_url
        session = botocore.session.Session()
        session.set_credentials("local", "local")
        self._lambda: Any = session.create_client("lambda", region_name=REGION, endpoint_url=invoke_url)
        self._next_seq = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._lambda.close()

    def generate(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", f"{self._generate_url}/generate", request)

    def score(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", f"{self._score_url}/score", request)

    def reward(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", f"{self._score_url}/reward", request)

    def stats(self, user_id: str) -> Any:
        return self._answer("GET", f"{self._score_url}/stats/{user_id}")

    def deliver(self, messages: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        batch = jetstream_batch(messages, first_seq=self._next_seq)
        self._next_seq += len(messages)
        answer = self._lambda.invoke(FunctionName="ConsumeFunction", Payload=json.dumps(batch).encode())
        result = json.loads(answer["Payload"].read())
        if result != {"batchItemFailures": []}:
            raise ServiceError(f"consume did not take every event: {result}")

    def _answer(self, method: str, url: str, body: Any = None) -> Any:
        response = self._http.request(method, url, json=body)
        if response.status_code != 200:
            raise ServiceError(f"{method} {url} answered {response.status_code}: {response.text}")
        return response.json()
