"""Moto's DynamoDB table, made to touch only the partitions that a request names.

Moto copies each touched table once per item of a transaction, to restore it on failure, and sorts all items of the
table for every query: milliseconds at a hundred items, seconds at ten thousand. Results stay the same.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import moto.dynamodb.models as models
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table

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


def install() -> None:
    """Make moto use these tables from now on, in this process. Requests must come one at a time."""
    vars(models)["Table"] = PartitionedTable
    # Moto lists every item and every copy of one ever made, to drop them in a reset that nobody asks for here.
    for model in (PartitionedTable, Item):
        model.instances_tracked = _Forgetful()  # type: ignore[union-attr]
    DynamoDBBackend.transact_write_items = _transact_write_items  # type: ignore[method-assign]
