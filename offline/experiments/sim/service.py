"""The real handlers of `score` and `consume` in this process, as a recommender, the bridge and the table's stream call
them, over a DynamoDB table on loopback.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from devstack.events import REGION, Answer, LambdaContext, Message, jetstream_batch, url_event
from devstack.proxies import bypass_for_loopback
from devstack.stack import LOCAL_BUDGETS
from devstack.table import client, create_table
from devstack.template import ROOT, Template
from devstack.ttl import expire
from offline.experiments.sim.own_table import ENDPOINT, OwnTable
from tips.settings import Settings
from tips.state import table as table_module
from tips.state.keys import WAIT_PREFIX

_ENVIRONMENT = {
    **LOCAL_BUDGETS,
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    # Nobody else changes it, and after a change of ours the handlers are loaded anew.
    "CONFIG_CACHE_SEC": "86400",
}
_UNFORGOTTEN = ("DEFAULT_REWARD", "REWARD_WAIT", "HALF_LIFE_DAYS", "MIN_EXPLORE", "PRIOR_STRENGTH_MAX")
"""What the caller's environment may say of the service that is simulated; everything else is as in the template."""


class ServiceError(Exception):
    """A handler did not answer as it should; the message says which and how."""


@dataclass
class Service:
    """What a simulation calls. Times are those of the process's clock."""

    settings: Settings
    client: Any
    _modules: dict[str, Any] = field(default_factory=dict)
    _next_seq: int = 1

    @property
    def name(self) -> str:
        return self.settings.table_name

    def load(self) -> None:
        """Load the handlers anew: they read what all requests share at their next request."""
        for name in ("score", "consume"):
            self._modules[name] = _loaded(name)

    def score(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", "/score", request)

    def reward(self, request: Mapping[str, Any]) -> Any:
        return self._answer("POST", "/reward", request)

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand `consume` a batch as the bridge does; raises `ServiceError` unless it takes every record."""
        batch = jetstream_batch(messages, first_seq=self._next_seq)
        self._next_seq += len(messages)
        self._consume(batch)

    def expire(self, now: float) -> int:
        """End the reward waits that are over at `now` (seconds since 1970), by the table's stream. Returns how many.

        Of everything else that is due nothing is told, and readers do not see it any more: it may stay.
        """
        events = expire(self, now, _template(), sort_keys=WAIT_PREFIX)
        for event in events:
            self._consume(event)
        return sum(len(event["Records"]) for event in events)

    def _consume(self, event: Any) -> None:
        result = self._modules["consume"].handler(event, LambdaContext("ConsumeFunction"))
        if result != {"batchItemFailures": []}:
            raise ServiceError(f"consume did not take every event: {result}")

    def _answer(self, method: str, path: str, body: Any = None) -> Any:
        result = self._modules["score"].handler(url_event(method, path, body), LambdaContext("ScoreFunction"))
        answer = Answer.from_result(result)
        if answer.status != 200:
            raise ServiceError(f"{method} {path} answered {answer.status}: {answer.text}")
        return answer.json


_TEMPLATE: list[Template] = []


def _template() -> Template:
    """Read once: it is needed for every look at the table's time to live."""
    if not _TEMPLATE:
        _TEMPLATE.append(Template())
    return _TEMPLATE[0]


def _loaded(name: str) -> Any:
    folder = ROOT / "functions" / name
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", folder / "app.py")
    if spec is None or spec.loader is None:
        raise ServiceError(f"there is no function in {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@contextmanager
def open_service(endpoint: str | None = None, table: str = "tips") -> Iterator[Service]:
    """Yield the service, over the table at `endpoint` (made if it is not there) or over one of its own, then gone.

    It takes over this process: environment, modules. Raises `ServiceError` if the endpoint does not answer.
    """
    bypass_for_loopback()
    with ExitStack() as opened:
        if endpoint is None:
            endpoint = ENDPOINT
            own = OwnTable()
            # Each client that the functions make takes the session's hooks over.
            for events in (table_module._session, client(endpoint).meta.events):
                own.serve(events)
                opened.callback(own.release, events)
            opened.callback(client(endpoint).delete_table, TableName=table)
        given = {name: os.environ[name] for name in _UNFORGOTTEN if name in os.environ}
        opened.enter_context(
            _environment({**_ENVIRONMENT, **given, "TABLE_NAME": table, "DYNAMODB_ENDPOINT": endpoint})
        )
        dynamodb = client(endpoint)
        ensure_table(endpoint, table)
        service = Service(Settings.from_env(), dynamodb)
        service.load()
        yield service


def ensure_table(endpoint: str, table: str) -> None:
    """Make the table of template.yaml unless there is one of that name. Raises `ServiceError`."""
    from botocore.exceptions import BotoCoreError

    dynamodb = client(endpoint)
    try:
        dynamodb.describe_table(TableName=table)
    except dynamodb.exceptions.ResourceNotFoundException:
        create_table(endpoint, table)
    except BotoCoreError as error:
        raise ServiceError(f"no table answers at {endpoint}: {error}") from None


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
