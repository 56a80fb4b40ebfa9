"""Moto's DynamoDB table, made to touch only the partitions that a request names, and to answer faster.

Moto copies each touched table once per item of a transaction, to restore it on failure, and sorts all items of the
table for every query: milliseconds at a hundred items, seconds at ten thousand. In an answer it looks for every type
that a value could have, under several names. Results stay the same.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import moto.dynamodb.models as models
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table

_original_serialize_structure = ResponseSerializer._serialize_type_structure
_original_transact_write_items = DynamoDBBackend.transact_write_items

Keys = dict[DynamoType, set[DynamoType | None]]
"""Range keys (None in a table without) by partition key."""


class PartitionedTable(Table):
    """A table whose copy, during a transaction, shares all but the items that the transaction names."""

    _touched: Keys | None = None
    _backup: PartitionedTable | None = None

    def begin(self, keys: Iterable[dict[str, Any]]) -> None:
        """Announce a transaction that writes to the items with these keys."""
        self._touched = defaultdict(set)
        for key in keys:
            names = [self.hash_key_attr] + ([self.range_key_attr] if self.range_key_attr else [])
            # A key without these attributes fails moto's own checks, before anything is written.
            if all(name in key for name in names):
                values = [DynamoType(key[name]) for name in names]
                self._touched[values[0]].add(values[1] if len(values) > 1 else None)

    def end(self) -> None:
        self._touched = self._backup = None

    def __deepcopy__(self, memo: dict[int, Any]) -> PartitionedTable:
        if self._backup is not None:
            return self._backup
        clone = copy.copy(self)
        memo[id(self)] = clone
        if self._touched is None or self.stream_shard is not None:
            clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
            return clone
        clone.items = self._copied_items(self._touched)
        clone.end()
        # Moto asks for one copy per item of the transaction, all before the first write.
        self._backup = clone
        return clone

    def _copied_items(self, touched: Keys) -> Any:
        items: Any = copy.copy(self.items)
        for partition_key, range_keys in touched.items():
            if partition_key not in items:
                continue
            partition = items[partition_key]
            if isinstance(partition, Item):
                items[partition_key] = copy.deepcopy(partition)
                continue
            # Writes replace, remove or change in place the items they name, and no others.
            items[partition_key] = {
                key: copy.deepcopy(item) if key in range_keys else item for key, item in partition.items()
            }
        return items

    def query(self, hash_key: DynamoType | None, *arguments: Any, **options: Any) -> Any:
        index = options.get("index_name", arguments[6] if len(arguments) > 6 else None)
        in_one_partition = index is None or any(local.name == index for local in self.indexes)
        if hash_key is None or not in_one_partition:
            return super().query(hash_key, *arguments, **options)
        everything = self.items
        partition = {hash_key: everything[hash_key]} if hash_key in everything else {}
        try:
            self.items = defaultdict(dict, partition)
            return super().query(hash_key, *arguments, **options)
        finally:
            self.items = everything

    def scan(self, filters: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Sort and weigh only the items that pass the filters: moto does it with all, and looks at the filters last."""
        index = options.get("index_name", arguments[3] if len(arguments) > 3 else None)
        start = options.get("exclusive_start_key", arguments[1] if len(arguments) > 1 else None)
        if not filters or index is not None or start is not None:
            return super().scan(filters, *arguments, **options)
        passing: Any = defaultdict(dict)
        everything, count = self.items, 0
        for partition_key, partition in everything.items():
            # Without a range key, a partition is its only item.
            items = {None: partition} if isinstance(partition, Item) else partition
            count += len(items)
            if kept := {key: item for key, item in items.items() if _passes(item, filters)}:
                passing[partition_key] = kept.get(None, kept)
        try:
            self.items = passing
            results, _, last = super().scan(filters, *arguments, **options)
        finally:
            self.items = everything
        return results, count, last


def _passes(item: Item, filters: dict[str, Any]) -> bool:
    for name, (operator, values) in filters.items():
        attribute = item.attrs.get(name)
        if not (attribute.compare(operator, values) if attribute else operator == "NULL"):
            return False
    return True


class _Forgetful(list[Any]):
    def append(self, _: Any) -> None:
        pass


def _transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    keys: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in transact_items:
        for operation in item.values():
            keys[operation.get("TableName", "")].append(operation.get("Key") or operation.get("Item") or {})
    touched = [(table, keys[name]) for name, table in self.tables.items() if name in keys]
    tables = [(table, written) for table, written in touched if isinstance(table, PartitionedTable)]
    try:
        for table, written in tables:
            table.begin(written)
        _original_transact_write_items(self, transact_items)
    finally:
        for table, _ in tables:
            table.end()


def _serialize_structure(self: ResponseSerializer, serialized: Any, value: Any, shape: Any, key: str) -> None:
    if not (key and shape.name == "AttributeValue" and type(value) is dict and value.keys() <= shape.members.keys()):
        _original_serialize_structure(self, serialized, value, shape, key)
        return
    wrapper: Any = self.MAP_TYPE()
    for name, member in value.items():
        shape.members[name].parent = shape
        self._serialize(wrapper, member, shape.members[name], name)
    self._default_serialize(serialized, wrapper, shape, key)


def install() -> None:
    """Make moto use these tables from now on, in this process. Requests must come one at a time."""
    vars(models)["Table"] = PartitionedTable
    # Moto lists every item and every copy of one ever made, to drop them in a reset that nobody asks for here.
    for model in (PartitionedTable, Item):
        model.instances_tracked = _Forgetful()  # type: ignore[union-attr]
    DynamoDBBackend.transact_write_items = _transact_write_items  # type: ignore[method-assign]
    ResponseSerializer._serialize_type_structure = _serialize_structure  # type: ignore[method-assign]
