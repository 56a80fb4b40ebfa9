"""DynamoDB on loopback: moto's server behind one lock, and the table of template.yaml in it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from moto.moto_server.werkzeug_app import create_backend_app

from devstack import moto_table
from devstack.events import REGION
from devstack.http_server import Application, HttpServer
from devstack.template import Template

_TABLE_OPTIONS = (
    "AttributeDefinitions",
    "KeySchema",
    "LocalSecondaryIndexes",
    "GlobalSecondaryIndexes",
    "BillingMode",
    "ProvisionedThroughput",
)


def one_at_a_time(application: Application) -> Application:
    """Return `application` behind a lock: moto reads, checks a condition and writes without one of its own."""
    lock = threading.Lock()

    def locked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        # A slow client must not hold the lock, so its request is read first.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with lock:
            return list(application(environ, start_response))

    return locked


class TableServer(HttpServer):
    """A DynamoDB server. Servers of one process share their tables: moto keeps them per process."""

    def __init__(self, port: int = 0) -> None:
        moto_table.install()
        super().__init__("table", one_at_a_time(create_backend_app("dynamodb")), port)
        self.endpoint = self.url


@cache
def client(endpoint: str, read_timeout: float = 10.0) -> Any:
    """Return the botocore DynamoDB client for a local endpoint; its credentials are made up."""
    session = botocore.session.Session()
    session.set_credentials("local", "local")
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=read_timeout)
    return session.create_client("dynamodb", region_name=REGION, endpoint_url=endpoint, config=config)


_own_template = cache(Template)


def create_table(endpoint: str, name: str, template: Template | None = None) -> None:
    """Create the table that template.yaml defines, under another name.

    Streams and encryption are left out: moto is slow with the one, and the other says nothing locally.
    """
    properties = (template or _own_template()).table()
    options = {key: properties[key] for key in _TABLE_OPTIONS if key in properties}
    dynamodb = client(endpoint)
    dynamodb.create_table(TableName=name, **options)
    if "TimeToLiveSpecification" in properties:
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=properties["TimeToLiveSpecification"])
    if "PointInTimeRecoverySpecification" in properties:
        dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification=properties["PointInTimeRecoverySpecification"]
        )
