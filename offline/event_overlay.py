"""A table that is read and never written: what is written stays in memory, over what the table holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from offline.event_expressions import UnknownExpression, holds, updated
from tips.errors import ConditionNotMet
from tips.state.table import Item, Table

if TYPE_CHECKING:
    from tips.settings import Settings

Key = tuple[str, str]
_QUERY = re.compile(r"pk = :pk(?: AND (sk|tip_key) BETWEEN :from AND :to)?")


class OverlayTable(Table):
    """The table as it would be after the writes made here.

    It stands in at the level of DynamoDB's operations, so that all code above it is that of every other run. Writes
    keep their conditions: `ConditionNotMet`, and nothing is changed. Raises `UnknownExpression` rather than to guess.
    """

    def __init__(self, settings: Settings, timeout_ms: float) -> None:
        super().__init__(settings, timeout_ms)
        self._written: dict[Key, Item | None] = {}
        self._originals: dict[Key, Item | None] = {}
        self._journal: list[tuple[Key, Item | None, Item | None]] = []

    def changes(self) -> dict[Key, tuple[Item | None, Item | None]]:
        """Return every item written so far, as it was before the first write and as it is now; None: not there."""
        return {key: (self._originals[key], item) for key, item in self._written.items()}

    def last_changes(self) -> dict[Key, tuple[Item | None, Item | None]]:
        """Return what was written since the last call, likewise."""
        last: dict[Key, tuple[Item | None, Item | None]] = {}
        for key, before, after in self._journal:
            last[key] = (last[key][0] if key in last else before), after
        self._journal.clear()
        return last

    def _call(self, operation: str, *, named: bool = True, **arguments: Any) -> Any:
        match operation:
            case "get_item":
                item = self._item(_key_of(arguments["Key"]))
                return {} if item is None else {"Item": item}
            case "batch_get_item":
                return self._get_all(arguments["RequestItems"][self.name]["Keys"])
            case "query":
                return self._query(arguments)
            case "put_item":
                return self._write([("Put", arguments)])
            case "update_item":
                return self._write([("Update", arguments)])
            case "delete_item":
                return self._write([("Delete", arguments)])
            case "batch_write_item":
                for request in arguments["RequestItems"][self.name]:
                    ((kind, write),) = request.items()
                    self._write([(kind.removesuffix("Request"), write)])
                return {"UnprocessedItems": {}}
            case "transact_write_items":
                return self._write([pair for one in arguments["TransactItems"] for pair in one.items()])
        raise UnknownExpression(f"{operation} is not known to a dry run")

    def _item(self, key: Key) -> Item | None:
        if key in self._written:
            return self._written[key]
        pk, sk = key
        found: Item | None = (
            super()._call("get_item", Key={"pk": {"S": pk}, "sk": {"S": sk}}, ConsistentRead=True).get("Item")
        )
        return found

    def _get_all(self, keys: list[Item]) -> dict[str, Any]:
        unknown = [one for one in keys if _key_of(one) not in self._written]
        answer: dict[str, Any] = {"Responses": {self.name: []}}
        if unknown:
            wanted = {self.name: {"Keys": unknown, "ConsistentRead": True}}
            answer = super()._call("batch_get_item", RequestItems=wanted, named=False)
            if "Responses" not in answer:
                return answer
        known = [self._written.get(_key_of(one)) for one in keys]
        items = [*answer["Responses"].get(self.name, []), *(one for one in known if one is not None)]
        return {**answer, "Responses": {self.name: items}}

    def _write(self, writes: list[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
        """Carry out all or none."""
        planned: list[tuple[Key, Item | None, Item | None]] = []
        for kind, write in writes:
            key = _key_of(write["Item"] if kind == "Put" else write["Key"])
            before = self._item(key)
            if not holds(write, before):
                raise ConditionNotMet
            match kind:
                case "Put":
                    planned.append((key, before, dict(write["Item"])))
                case "Update":
                    planned.append((key, before, updated(write, before)))
                case "Delete":
                    planned.append((key, before, None))
                case "ConditionCheck":
                    continue
                case _:
                    raise UnknownExpression(f"{kind} is not known to a dry run")
        for key, before, after in planned:
            self._originals.setdefault(key, before)
            self._written[key] = after
        self._journal += planned
        return {}

    def _query(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a page as the table has it, with what was written in its place."""
        form = _QUERY.fullmatch(arguments["KeyConditionExpression"])
        if form is None:
            raise UnknownExpression(arguments["KeyConditionExpression"])
        answer: dict[str, Any] = super()._call("query", **arguments)
        values = {name: value["S"] for name, value in arguments["ExpressionAttributeValues"].items()}
        attribute = form[1] or "sk"
        written = {key: item for key, item in self._written.items() if key[0] == values[":pk"]}
        if not written or "Items" not in answer:
            return answer
        descending = not arguments.get("ScanIndexForward", True)
        low, high = values.get(":from", ""), values.get(":to")
        after, last = arguments.get("ExclusiveStartKey"), answer.get("LastEvaluatedKey")

        def on_this_page(item: Item) -> bool:
            place = item.get(attribute, {}).get("S")
            if place is None or place < low or (high is not None and place > high):
                return False
            begins = after is None or (place < after[attribute]["S"] if descending else place > after[attribute]["S"])
            ends = last is None or (place >= last[attribute]["S"] if descending else place <= last[attribute]["S"])
            return begins and ends

        items = [item for item in answer["Items"] if _key_of(item) not in written]
        items += [item for item in written.values() if item is not None and on_this_page(item)]
        return {**answer, "Items": sorted(items, key=lambda one: one[attribute]["S"], reverse=descending)}


def _key_of(item: Mapping[str, Any]) -> Key:
    return item["pk"]["S"], item["sk"]["S"]
