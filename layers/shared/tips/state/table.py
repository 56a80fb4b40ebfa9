"""The table's client: DynamoDB calls in bounded time, their faults by situation."""

from __future__ import annotations

import copy
import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError
from botocore.session import Session

from tips import __version__, telemetry
from tips.errors import ConditionNotMet, TableUnavailable, WriteConflict
from tips.state.wire import write_and_read_plainly

if TYPE_CHECKING:
    from botocore.client import BaseClient

    from tips.settings import Settings

Item = dict[str, Any]
"""An item in DynamoDB's own JSON: {"name": {"S": ...}}."""

_NOT_MET = {"ConditionalCheckFailedException", "ConditionalCheckFailed"}
_CONFLICTS = {"TransactionConflictException", "TransactionConflict", "TransactionInProgressException"} | _NOT_MET
_MALFORMED = {"ValidationException", "ValidationError", "ItemCollectionSizeLimitExceeded"}
_WRITES = {"put_item", "update_item", "delete_item", "batch_write_item", "transact_write_items"}
_session = Session()
# Not the seeded generator: a restored snapshot would make every clone wait equally long.
_jitter = random.SystemRandom()
T = TypeVar("T")
_tables: WeakSet[Table] = WeakSet()


class Table:
    """One DynamoDB table.

    Every call is one request: it ends within `timeout_ms` and is never retried here. Raises `ConditionNotMet` or
    `WriteConflict` for the sake of other writers, else `TableUnavailable`.
    """

    _deadline = math.inf

    def __init__(self, settings: Settings, timeout_ms: float) -> None:
        self.name = settings.table_name
        self._settings = settings
        self._timeout_sec = timeout_ms / 1000
        self._client = self._new_client()
        _tables.add(self)

    def _new_client(self) -> BaseClient:
        client = _session.create_client(
            "dynamodb",
            region_name=self._settings.region,
            endpoint_url=self._settings.dynamodb_endpoint,
            config=Config(
                connect_timeout=self._timeout_sec,
                read_timeout=self._timeout_sec,
                retries={"total_max_attempts": 1},
                parameter_validation=False,
                tcp_keepalive=True,
                user_agent=f"oo-tips/{__version__}",  # its own is put together anew for every call
            ),
        )
        write_and_read_plainly(client)
        return client

    def until(self, deadline: float) -> Self:
        """Return the same table, on which no call begins after `deadline` (of `time.monotonic`)."""
        bounded = copy.copy(self)
        bounded._deadline = deadline
        return bounded

    def get(self, pk: str, sk: str, *, consistent: bool = True) -> Item | None:
        answer = self._call("get_item", Key=_key(pk, sk), ConsistentRead=consistent)
        return _live(answer.get("Item"))

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Item | None]:
        """Read up to 100 items consistently in one round trip; answers are in the order of `keys`."""
        answer = self._call(
            "batch_get_item",
            RequestItems={self.name: {"Keys": [_key(*key) for key in keys], "ConsistentRead": True}},
            named=False,
        )
        if answer.get("UnprocessedKeys") or "Responses" not in answer:
            raise TableUnavailable("the table is throttled")
        found = {(item["pk"]["S"], item["sk"]["S"]): item for item in answer["Responses"].get(self.name, [])}
        return [_live(found.get(key)) for key in keys]

    def put(self, item: Item) -> None:
        self._call("put_item", Item=item)

    def put_all(self, items: Sequence[Item]) -> None:
        """Store up to 25 items in one round trip, each for itself; raises `TableUnavailable` unless all are stored."""
        requests = {self.name: [{"PutRequest": {"Item": item}} for item in items]}
        answer = self._call("batch_write_item", RequestItems=requests, named=False)
        # DynamoDB always says what it left, if only that it left nothing.
        if answer.get("UnprocessedItems") != {}:
            raise TableUnavailable("the table is throttled", ambiguous=True)

    def update(self, pk: str, sk: str, expression: str, values: Item, **options: Any) -> None:
        """Change one item, or make it. expression: DynamoDB's `UpdateExpression`, whose ":names" stand for `values`.

        options: such as `ConditionExpression`, as DynamoDB names them.
        """
        self._call(
            "update_item",
            Key=_key(pk, sk),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            **options,
        )

    def delete(self, pk: str, sk: str) -> None:
        self._call("delete_item", Key=_key(pk, sk))

    def transact(self, writes: Sequence[Mapping[str, Any]]) -> None:
        """Carry out all writes or none. Each is {"Put": ...}, {"Update": ...} and so on, without the table's name."""
        named = [{kind: {"TableName": self.name, **write} for kind, write in one.items()} for one in writes]
        self._call("transact_write_items", TransactItems=named, named=False)

    def query(
        self,
        pk: str,
        sk_from: str,
        sk_to: str,
        *,
        limit: int,
        index: str | None = None,
        page: int | None = None,
        attributes: Sequence[str] | None = None,
    ) -> Iterator[Item]:
        """Yield up to `limit` live items whose sort key is in the range, greatest first.

        page: how many are read at once, for who may need few of them; else `limit`. attributes: None is all of them;
        without `ttl`, expired items are among what is yielded.
        """
        sort_key = "sk" if index is None else "tip_key"
        arguments: dict[str, Any] = {
            "KeyConditionExpression": f"pk = :pk AND {sort_key} BETWEEN :from AND :to",
            "ExpressionAttributeValues": {":pk": {"S": pk}, ":from": {"S": sk_from}, ":to": {"S": sk_to}},
            "ScanIndexForward": False,
            "ConsistentRead": True,
            "Limit": page or limit,
        }
        if index is not None:
            arguments["IndexName"] = index
        if attributes is not None:
            arguments["ExpressionAttributeNames"] = {f"#{name}": name for name in attributes}
            arguments["ProjectionExpression"] = ", ".join(arguments["ExpressionAttributeNames"])
        while limit > 0:
            answer = self._call("query", **arguments)
            if "Items" not in answer:
                raise TableUnavailable("the table did not answer")
            for item in filter(None, map(_live, answer["Items"][:limit])):
                yield item
                limit -= 1
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def keys_of(self, pk: str, *, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` keys of a partition, those of expired items included."""
        answer = self._call(
            "query",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}},
            ProjectionExpression="pk, sk",
            ConsistentRead=True,
            Limit=limit,
        )
        return [(item["pk"]["S"], item["sk"]["S"]) for item in answer["Items"]]

    def _call(self, operation: str, *, named: bool = True, **arguments: Any) -> Any:
        if named:
            arguments["TableName"] = self.name
        if time.monotonic() > self._deadline:
            raise TableUnavailable("the table did not answer in time")
        try:
            answer = getattr(self._client, operation)(**arguments)
            if not _is_dynamodbs(answer):
                raise ValueError("the answer is not DynamoDB's")
            return answer
        except ClientError as error:
            raise _fault(operation, error) from None
        except (BotoCoreError, ValueError, TypeError, KeyError, AttributeError) as error:
            # All but the first are botocore's when an answer has not DynamoDB's shape.
            telemetry.count("TableFault")
            telemetry.logger.warning(
                "table did not answer", extra={"operation": operation, "fault": type(error).__name__}
            )
            sent = operation in _WRITES and not isinstance(error, ConnectTimeoutError | EndpointConnectionError)
            raise TableUnavailable("the table did not answer", ambiguous=sent) from None


def release_clients() -> None:
    """Close every table's connections and forget its credentials; no table answers until `renew_clients`."""
    global _session
    for table in _tables:
        table._client.close()
        del table._client
    fresh = Session()
    # What is read from botocore's files is nobody's secret, and takes most of the time that a client does.
    fresh.register_component("data_loader", _session.get_component("data_loader"))
    _session = fresh
    # Clients refer to themselves, and to the connection that their credentials came by; an init's are frozen.
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def renew_clients() -> None:
    """Give every table a client of its own again, with credentials that are asked for now."""
    for table in _tables:
        table._client = table._new_client()


def _is_dynamodbs(answer: Mapping[str, Any]) -> bool:
    """Whether it is DynamoDB's answer: botocore reads a body that is no JSON as an empty one.

    DynamoDB's carry a request id; where a proxy has stripped it, an empty answer is `{}` to the byte.
    """
    metadata = answer["ResponseMetadata"]
    return "RequestId" in metadata or len(answer) > 1 or metadata["HTTPHeaders"].get("content-length") == "2"


def _key(pk: str, sk: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _live(item: Item | None) -> Item | None:
    """TTL removes items days late; a reader does not see them from their time on."""
    if item is None or ("ttl" in item and int(item["ttl"]["N"]) <= time.time()):
        return None
    return item


def _fault(operation: str, error: ClientError) -> Exception:
    detail = error.response.get("Error", {})
    code = detail.get("Code", "")
    reasons = {reason.get("Code", "None") for reason in error.response.get("CancellationReasons", ())} - {"None"}
    if code in _NOT_MET or (reasons and reasons <= _NOT_MET):
        return ConditionNotMet()
    if code in _CONFLICTS or (reasons and reasons <= _CONFLICTS):
        return WriteConflict()
    telemetry.count("TableFault")
    telemetry.logger.warning("table refused", extra={"operation": operation, "fault": code, "reasons": sorted(reasons)})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return TableUnavailable(
        "the table refused the request",
        ambiguous=operation in _WRITES and status >= 500,
        malformed=code in _MALFORMED or bool(reasons & _MALFORMED),
    )


def retrying(table: Table, deadline_ms: float, attempt: Callable[[Table, bool], T]) -> T:
    """Call `attempt(table, ambiguous)` until it succeeds, with conflicts and faults retried until the deadline.

    `ambiguous` tells an attempt that an earlier one's write may have been carried out although it reported a fault.
    Raises `TableUnavailable` at the deadline, or as much later as one call may take; at once for what is malformed.
    """
    deadline = time.monotonic() + deadline_ms / 1000
    bounded = table.until(deadline)
    ambiguous = False
    pause = 0.01
    fault: TableUnavailable | None = None
    while True:
        try:
            return attempt(bounded, ambiguous)
        except WriteConflict:
            fault = TableUnavailable("too many writers at the same time")
        except TableUnavailable as error:
            # One that is raised after the deadline may say no more than that it has passed.
            if fault is None or error.ambiguous or time.monotonic() < deadline:
                fault = error
            if error.malformed:
                raise
            ambiguous = ambiguous or error.ambiguous
        # Full jitter, so that writers that collided do not collide again.
        wait = _jitter.uniform(0, pause)
        if time.monotonic() + wait >= deadline:
            raise fault
        time.sleep(wait)
        pause = min(pause * 2, 0.2)
