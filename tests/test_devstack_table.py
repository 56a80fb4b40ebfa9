"""The local table: atomic under concurrency, transactions that roll back and copy only what they touch."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from moto.dynamodb.models.dynamo_type import Item

from devstack.template import Template

Key = dict[str, dict[str, str]]


def key(pk: str, sk: str = "A") -> Key:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def value_of(table: Any, item: Key) -> str | None:
    found = table.client.get_item(TableName=table.name, Key=item).get("Item")
    return found["v"]["N"] if found else None


def put(table: Any, item: Key, value: int) -> None:
    table.client.put_item(TableName=table.name, Item={**item, "v": {"N": str(value)}})


@pytest.mark.thorough
def test_a_version_check_never_loses_an_update(table: Any) -> None:
    put(table, key("U#1"), 0)
    tries = 25

    def add_one() -> int:
        done = 0
        while done < tries:
            seen = value_of(table, key("U#1"))
            assert seen is not None
            try:
                table.client.update_item(
                    TableName=table.name,
                    Key=key("U#1"),
                    UpdateExpression="SET v = :new",
                    ConditionExpression="v = :seen",
                    ExpressionAttributeValues={":new": {"N": str(int(seen) + 1)}, ":seen": {"N": seen}},
                )
            except table.client.exceptions.ConditionalCheckFailedException:
                continue
            done += 1
        return done

    with ThreadPoolExecutor(4) as executor:
        done = sum(future.result() for future in [executor.submit(add_one) for _ in range(4)])
    assert value_of(table, key("U#1")) == str(done) == str(4 * tries)


def test_requests_reach_moto_one_at_a_time() -> None:
    from devstack.table import one_at_a_time

    inside: list[int] = []
    most: list[int] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        inside.append(1)
        time.sleep(0.001)
        most.append(len(inside))
        yield environ["wsgi.input"].read()
        inside.pop()

    locked = one_at_a_time(application)

    class Body:
        def read(self, size: int) -> bytes:
            return b"x" * size

    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: locked({"CONTENT_LENGTH": "2", "wsgi.input": Body()}, None), range(40)))
    assert answers == [[b"xx"]] * 40
    assert max(most) == 1


def write(table: Any, *operations: dict[str, Any]) -> None:
    items = [{kind: {"TableName": table.name, **operation}} for each in operations for kind, operation in each.items()]
    table.client.transact_write_items(TransactItems=items)


def set_value(item: Key, value: int) -> dict[str, Any]:
    return {
        "Update": {
            "Key": item,
            "UpdateExpression": "SET v = :v",
            "ExpressionAttributeValues": {":v": {"N": str(value)}},
        }
    }


FAILS = {"ConditionCheck": {"Key": key("U#9"), "ConditionExpression": "attribute_exists(pk)"}}


def test_a_failed_transaction_leaves_everything_as_it_was(table: Any) -> None:
    for pk in ("U#1", "U#2"):
        for sk in ("A", "B", "C"):
            put(table, key(pk, sk), 1)
    before = sorted(table.items(), key=str)
    with pytest.raises(table.client.exceptions.TransactionCanceledException) as error:
        write(
            table,
            set_value(key("U#1"), 2),  # changed
            set_value(key("U#3"), 2),  # new partition
            {"Put": {"Item": {**key("U#1", "D"), "v": {"N": "2"}}}},  # new item
            {"Put": {"Item": {**key("U#2", "B"), "v": {"N": "2"}}}},  # replaced
            {"Delete": {"Key": key("U#1", "C")}},
            FAILS,
        )
    codes = [reason["Code"] for reason in error.value.response["CancellationReasons"]]
    assert codes == ["None"] * 5 + ["ConditionalCheckFailed"]
    assert sorted(table.items(), key=str) == before
    write(table, set_value(key("U#1"), 3), {"Delete": {"Key": key("U#1", "C")}})
    assert value_of(table, key("U#1")) == "3"
    assert value_of(table, key("U#1", "C")) is None


def test_an_invalid_transaction_leaves_everything_as_it_was(table: Any) -> None:
    put(table, key("U#1"), 1)
    with pytest.raises(table.client.exceptions.ClientError, match="multiple operations"):
        write(table, set_value(key("U#1"), 2), set_value(key("U#1"), 3))
    with pytest.raises(table.client.exceptions.ClientError):
        write(table, set_value(key("U#1"), 2), {"Delete": {"Key": {"pk": {"S": "U#1"}}}})
    assert value_of(table, key("U#1")) == "1"


def test_writes_after_a_rollback_do_not_reach_into_the_past(table: Any) -> None:
    put(table, key("U#1"), 1)
    for _ in range(2):
        with pytest.raises(table.client.exceptions.TransactionCanceledException):
            write(table, set_value(key("U#1"), 2), FAILS)
        table.client.update_item(
            TableName=table.name,
            Key=key("U#1"),
            UpdateExpression="ADD v :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    assert value_of(table, key("U#1")) == "3"


def test_a_backup_is_a_whole_copy_even_after_a_rollback(table: Any) -> None:
    put(table, key("U#1"), 1)
    with pytest.raises(table.client.exceptions.TransactionCanceledException):
        write(table, set_value(key("U#9", "B"), 2), FAILS)
    backup = table.client.create_backup(TableName=table.name, BackupName="backup")["BackupDetails"]["BackupArn"]
    table.client.update_item(
        TableName=table.name,
        Key=key("U#1"),
        UpdateExpression="SET v = :v",
        ExpressionAttributeValues={":v": {"N": "2"}},
    )
    restored = table.client.restore_table_from_backup(TargetTableName=f"{table.name}-old", BackupArn=backup)
    name = restored["TableDescription"]["TableName"]
    assert table.client.get_item(TableName=name, Key=key("U#1"))["Item"]["v"] == {"N": "1"}
    table.client.delete_table(TableName=name)
    table.client.delete_backup(BackupArn=backup)


@contextmanager
def counted_copies() -> Iterator[list[Any]]:
    copied: list[Any] = []
    original = Item.__deepcopy__

    def counting(self: Item, memo: dict[int, Any]) -> Item:
        copied.append(self)
        return original(self, memo)

    with patch.object(Item, "__deepcopy__", counting):
        yield copied


@pytest.mark.parametrize("size", [3, 300])
def test_a_transaction_copies_only_the_items_it_names(size: int, table: Any) -> None:
    items = [{**key(f"U#{n % 7}", f"{n:04}"), "v": {"N": "0"}} for n in range(size)]
    for start in range(0, size, 25):
        batch = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        table.client.batch_write_item(RequestItems={table.name: batch})
    with counted_copies() as copied:
        write(table, set_value(key("U#0", "0000"), 1), set_value(key("U#1", "0001"), 1))
    # For the backup, and moto's own copy of each item that it updates.
    assert len(copied) == 4
    with counted_copies() as copied, pytest.raises(table.client.exceptions.TransactionCanceledException):
        write(table, set_value(key("U#0", "0000"), 2), set_value(key("U#1", "0001"), 2), FAILS)
    assert len(copied) == 4
    assert value_of(table, key("U#0", "0000")) == "1"


def test_a_query_sorts_only_its_partition(table: Any) -> None:
    for number in range(20):
        put(table, key(f"U#{number % 2}", f"{number:02}"), number)
    with counted_copies() as copied:
        answer = table.client.query(
            TableName=table.name,
            KeyConditionExpression="pk = :pk AND sk > :sk",
            ExpressionAttributeValues={":pk": {"S": "U#1"}, ":sk": {"S": "10"}},
            ScanIndexForward=False,
        )
    assert [item["sk"]["S"] for item in answer["Items"]] == ["19", "17", "15", "13", "11"]
    assert len(copied) == 5
    assert len(table.items()) == 20


def test_the_newest_decision_that_showed_a_tip_is_found_by_the_index(table: Any) -> None:
    for number in range(6):
        tip_key = {"S": f"tip-{number % 2}#{number:03}"}
        table.client.put_item(TableName=table.name, Item={**key("U#1", f"D#{number}"), "tip_key": tip_key})
    table.client.put_item(TableName=table.name, Item={**key("U#2", "D#9"), "tip_key": {"S": "tip-0#001"}})
    put(table, key("U#1", "L"), 1)

    def newest(low: str, high: str, **options: Any) -> list[str]:
        answer = table.client.query(
            TableName=table.name,
            IndexName="by-tip",
            KeyConditionExpression="pk = :pk AND tip_key BETWEEN :low AND :high",
            ExpressionAttributeValues={":pk": {"S": "U#1"}, ":low": {"S": low}, ":high": {"S": high}},
            ScanIndexForward=False,
            ConsistentRead=True,
            **options,
        )
        return [item["sk"]["S"] for item in answer["Items"]]

    assert newest("tip-0#", "tip-0#003", Limit=1) == ["D#2"]
    assert newest("tip-0#", "tip-0#999") == ["D#4", "D#2", "D#0"]
    assert newest("tip-1#", "tip-1#000") == []


def test_the_table_is_the_one_of_the_template(table: Any) -> None:
    wanted = Template().table()
    made = table.client.describe_table(TableName=table.name)["Table"]
    assert made["KeySchema"] == wanted["KeySchema"]
    assert made["AttributeDefinitions"] == wanted["AttributeDefinitions"]
    assert made["BillingModeSummary"] == {"BillingMode": wanted["BillingMode"]}
    assert made.get("LocalSecondaryIndexes", []) == wanted.get("LocalSecondaryIndexes", [])
    assert made.get("GlobalSecondaryIndexes", []) == wanted.get("GlobalSecondaryIndexes", [])
    assert not made.get("StreamSpecification", {}).get("StreamEnabled")
    ttl = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    assert ttl["TimeToLiveStatus"] == "ENABLED"
    assert ttl["AttributeName"] == wanted["TimeToLiveSpecification"]["AttributeName"]
    backups = table.client.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


@pytest.mark.thorough
def test_what_is_overwritten_is_forgotten(table: Any) -> None:
    item = key("U#forgotten")
    for value in range(3):
        put(table, item, value)
        write(table, set_value(item, value))
    gc.collect()
    assert sum(isinstance(each, Item) and each.hash_key.value == "U#forgotten" for each in gc.get_objects()) == 1


def test_tables_of_one_server_are_apart(new_table: Callable[[], Any]) -> None:
    one, other = new_table(), new_table()
    put(one, key("U#1"), 1)
    assert other.items() == []
