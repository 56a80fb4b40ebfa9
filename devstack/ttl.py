"""DynamoDB's time to live, which moto does not play: what is due is removed, and the table's stream tells of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from devstack.instances import Busy, Instances
from devstack.stream import Key, StreamDelivery, removed_by_ttl, wanted
from devstack.template import Template

_AT_ONCE = 200
_SHARE = 20
"""Looking for what is due takes at most one part in so many of the table's time: moto looks at every item."""


class TableHandle(Protocol):
    """A table that is there. `client`: a botocore DynamoDB client."""

    @property
    def client(self) -> Any: ...

    @property
    def name(self) -> str: ...


def remove_due(
    dynamodb: Any, table_name: str, template: Template, now: float, limit: int = _AT_ONCE, *, sort_keys: str = ""
) -> list[Key]:
    """Remove items whose time was over at `now` (seconds since 1970), up to `limit`, and return their keys.

    sort_keys: how the sort keys begin of those that are removed.
    """
    properties = template.table()
    attribute = properties["TimeToLiveSpecification"]["AttributeName"]
    key_names = [part["AttributeName"] for part in properties["KeySchema"]]
    at = {"N": str(int(now))}
    # Not a FilterExpression: moto copies every item before it asks one, which takes twenty times as long.
    filters: dict[str, Any] = {attribute: {"ComparisonOperator": "LE", "AttributeValueList": [at]}}
    if sort_keys:
        beginning = {"ComparisonOperator": "BEGINS_WITH", "AttributeValueList": [{"S": sort_keys}]}
        filters = {key_names[-1]: beginning, **filters}
    due = dynamodb.scan(
        TableName=table_name,
        ScanFilter=filters,
        AttributesToGet=key_names,
        Limit=limit,
    )
    removed: list[Key] = []
    for item in due["Items"]:
        key = {name: item[name] for name in key_names}
        try:
            # Its time may have been moved since, or somebody else has removed it.
            dynamodb.delete_item(
                TableName=table_name,
                Key=key,
                ConditionExpression="#ttl <= :now",
                ExpressionAttributeNames={"#ttl": attribute},
                ExpressionAttributeValues={":now": at},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            continue
        removed.append(key)
    return removed


def expire(
    table: TableHandle, now: float | None = None, template: Template | None = None, *, sort_keys: str = ""
) -> list[dict[str, Any]]:
    """Remove everything that is due, and return the events that the function behind the table's stream then gets.

    For tests that let time pass without a stack: `for event in expire(table, now): consume.invoke(event)`.
    `now`: seconds since 1970; the present without one. sort_keys: as of `remove_due`.
    """
    template = template or Template()
    trigger = template.stream_trigger()
    records: list[dict[str, Any]] = []
    at = time.time() if now is None else now
    while removed := remove_due(table.client, table.name, template, at, sort_keys=sort_keys):
        records += wanted(trigger, (removed_by_ttl(table.name, key) for key in removed))
    size = trigger.batch_size
    return [{"Records": records[start : start + size]} for start in range(0, len(records), size)]


class TimeToLive:
    """A thread that removes what is due and delivers the stream's records, from `start` to `stop`.

    `interval`: seconds between two looks at the table; more of them when a look takes long. What goes wrong is logged
    and tried again.
    """

    def __init__(
        self,
        dynamodb: Any,
        table_name: str,
        template: Template,
        instances: Instances,
        *,
        interval: float,
        log: Callable[[str], None],
    ) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._template = template
        self._delivery = StreamDelivery(template.stream_trigger(), instances, log)
        self._interval = interval
        self._log = log
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ttl", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a delivery that is under way gets a moment to end by itself."""
        self._stopped.set()
        self._thread.join(5)

    def _run(self) -> None:
        pause = self._interval
        while not self._stopped.wait(pause):
            started = time.monotonic()
            try:
                removed = self._remove_due()
                looked_for = time.monotonic() - started
                pause = self._interval if removed else max(self._interval, _SHARE * looked_for)
                self._delivery.deliver()
            except Busy:
                pass  # as when Lambda throttles: the next round comes
            except Exception as error:
                if not self._stopped.is_set():
                    self._log(f"ttl: {type(error).__name__}: {error}")

    def _remove_due(self) -> bool:
        """Remove what is due, as far as the stream has room for it. Returns whether that was anything."""
        limit = min(self._delivery.room, _AT_ONCE)
        if limit <= 0:
            return False
        removed = remove_due(self._dynamodb, self._table_name, self._template, time.time(), limit)
        self._delivery.take(removed_by_ttl(self._table_name, key) for key in removed)
        return bool(removed)
