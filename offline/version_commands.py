"""`tips versions prune`: published versions of the deployed functions that nobody needs any more, deleted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from offline.command import BadInput, RegionOption, aligned

app = typer.Typer(help="Published versions of the deployed functions.", no_args_is_help=True)

# Of one call, in seconds; throttled ones are tried again, each time a little later.
_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 5})


@app.callback()
def _group() -> None:
    """A single command would else take the group's place."""


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function and what is published of it. `versions`: newest first; `aliases`: by the version they use."""

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[int, str]

    def kept(self, keep: int) -> tuple[int, ...]:
        """Return the newest `keep` versions, and those that an alias sends requests to."""
        return tuple(one for index, one in enumerate(self.versions) if index < keep or one in self.aliases)

    def pruned(self, keep: int) -> tuple[int, ...]:
        kept = self.kept(keep)
        return tuple(one for one in self.versions if one not in kept)


@app.command()
def prune(
    stack: Annotated[str, typer.Option("--stack", metavar="NAME", help="Name of the CloudFormation stack.")],
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest versions stay.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    region: RegionOption = None,
) -> None:
    """Delete all but the newest versions of a stack's functions; one that an alias uses always stays.

    SAM publishes a version with each deployment and retains the one before, which SnapStart's cache is billed for.
    """
    session = Session()
    # As `sam deploy` finds it: the profile may name one.
    region = region or os.environ.get("AWS_REGION") or None
    try:
        cloudformation, lambda_ = (
            session.create_client(service, region_name=region, config=_CONFIG)
            for service in ("cloudformation", "lambda")
        )
        found = [_function(lambda_, name) for name in _function_names(cloudformation, stack)]
        if not found:
            raise BadInput(f"the stack {stack} has no function")
        print(_plan(found, keep))
        number = sum(len(one.pruned(keep)) for one in found)
        if number:
            _confirm(number, yes)
            _delete(lambda_, found, keep)
    except (BotoCoreError, ClientError) as error:
        print(f"tips: {' '.join(str(error).split())}; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(1) from None


def _function_names(cloudformation: Any, stack: str) -> list[str]:
    try:
        pages = [*cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # also how it says that there is no such stack
            raise BadInput(
                f"{error.response['Error'].get('Message', stack)} ({cloudformation.meta.region_name})"
            ) from None
        raise
    return [
        resource["PhysicalResourceId"]
        for page in pages
        for resource in page["StackResourceSummaries"]
        # One whose creation failed has no name.
        if resource["ResourceType"] == "AWS::Lambda::Function" and resource.get("PhysicalResourceId")
    ]


def _function(lambda_: Any, name: str) -> Function:
    # The aliases last: what they say is to be newer than the list.
    pages = lambda_.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    versions = [one["Version"] for page in pages for one in page["Versions"]]
    aliases: dict[int, str] = {}
    for page in lambda_.get_paginator("list_aliases").paginate(FunctionName=name):
        for alias in page["Aliases"]:
            for version in _used_by(alias):
                aliases[version] = ", ".join(filter(None, [aliases.get(version), alias["Name"]]))
    return Function(name, tuple(sorted((int(one) for one in versions if one.isdecimal()), reverse=True)), aliases)


def _used_by(alias: Mapping[str, Any]) -> Iterator[int]:
    """Yield the versions that an alias sends requests to, those with a weight of their own included."""
    weighted = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    yield from (int(version) for version in (alias["FunctionVersion"], *weighted) if version.isdecimal())


def _plan(functions: list[Function], keep: int) -> str:
    def named(one: Function, version: int) -> str:
        return f"{version} ({one.aliases[version]})" if version in one.aliases else str(version)

    return aligned([
        ["function", "stay", "go"],
        *(
            [
                one.name,
                ", ".join(named(one, version) for version in one.kept(keep)) or "none",
                ", ".join(map(str, one.pruned(keep))) or "none",
            ]
            for one in functions
        ),
    ])  # fmt: skip


def _confirm(number: int, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(f"this deletes {_counted(number)} for good: say --yes")
    if not typer.confirm(f"Delete {_counted(number)} for good?"):
        raise typer.Exit(1)


def _delete(lambda_: Any, functions: list[Function], keep: int) -> None:
    deleted = 0
    for one in functions:
        for version in one.pruned(keep):
            try:
                lambda_.delete_function(FunctionName=one.name, Qualifier=str(version))
                deleted += 1
            except ClientError as error:
                code = error.response["Error"]["Code"]
                # Somebody else pruned it; or an alias took it into use since the look, and Lambda protects it.
                if code == "ResourceNotFoundException":
                    continue
                if code != "ResourceConflictException":
                    raise
                print(f"{one.name} {version} stays: it is in use now")
    print(f"{_counted(deleted)} deleted")


def _counted(number: int) -> str:
    return "1 version" if number == 1 else f"{number} versions"
