"""`tips prompts list|show|diff|render|promote`: the prompt versions, and which of them the aliases stand for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import unified_diff
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from offline.command import (
    ActorOption,
    BadInput,
    EndpointOption,
    ReasonOption,
    RegionOption,
    TableOption,
    aligned,
    connect,
    settings_of,
)
from offline.config_commands import Operator, known
from offline.prompt_report import HASH_LENGTH, as_sent, document, heading, readable
from tips.contracts.configuration import Configuration, PromptAlias
from tips.contracts.generation import MAX_TIPS, GenerateRequest
from tips.errors import ConfigurationUnreadable, InvalidField, TableUnavailable
from tips.features.context import build_context
from tips.prompts.prompt import Prompt
from tips.prompts.registry import ALIASES, RELEASED, alias_default, alias_named, alias_target, prompts, status
from tips.settings import Settings
from tips.state import keys
from tips.state.configuration import read_configuration

app = typer.Typer(help="How tips are asked for: prompt versions and their aliases.", no_args_is_help=True)

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help=f"A version, or {' or '.join(ALIASES)}.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]

_NOBODY = "nobody"


@app.command(name="list")
def list_(
    as_json: JsonOption = False,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """List the versions, oldest first, and which the aliases stand for."""
    configured, notes = _aliases_or_none(settings_of(table, endpoint, region))
    standing = {alias: alias_target(alias, configured) for alias in ALIASES}
    for alias, prompt in standing.items():
        if prompt is None:
            default = alias_default(alias).version
            notes.append(f"{alias} is to be {configured[alias]}, no released version here; {default} stands in.")
    serving = {alias: (target or alias_default(alias)).version for alias, target in standing.items()}
    of_version = {name: [alias for alias in ALIASES if serving[alias] == name] for name in prompts()}
    if as_json:
        versions = [{**document(prompt), "aliases": of_version[name]} for name, prompt in prompts().items()]
        print(json.dumps({"versions": versions, "notes": notes}, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            name,
            status(prompt),
            prompt.released or "",
            prompt.author,
            prompt.content_hash[:HASH_LENGTH],
            ", ".join(of_version[name]),
        )
        for name, prompt in prompts().items()
    ]
    head, *lines = aligned([("version", "state", "date", "author", "hash", "alias"), *rows]).splitlines()
    print(head)
    for line, prompt in zip(lines, prompts().values(), strict=True):
        print(f"{line}\n  {prompt.description}")
    for note in notes:
        print(f"\n{note}")


@app.command()
def show(
    version: VersionArgument,
    as_json: JsonOption = False,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Show all that a version says, a sentence to a line."""
    prompt = _Versions(settings_of(table, endpoint, region)).named(version)
    if as_json:
        print(json.dumps(document(prompt), indent=2, ensure_ascii=False))
    else:
        print("\n".join([*heading(prompt), *readable(prompt)]))


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="As `show` takes it.")],
    after: Annotated[str, typer.Argument(metavar="B", help="As `show` takes it.")],
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Show how two versions differ, a sentence to a line."""
    versions = _Versions(settings_of(table, endpoint, region))
    one, other = versions.named(before), versions.named(after)
    lines = list(unified_diff(readable(one), readable(other), one.version, other.version, lineterm=""))
    print("\n".join(lines) or f"{one.version} and {other.version} say the same")


@app.command()
def render(
    version: VersionArgument,
    context: Annotated[
        Path, typer.Option(help="JSON: a context, or a whole body of POST /generate; - is the standard input.")
    ],
    n: Annotated[
        int | None, typer.Option(min=1, max=MAX_TIPS, help="How many tips to ask for; default: as the body says, or 3.")
    ] = None,
    as_json: JsonOption = False,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Print the messages that a version makes of a context, as they are sent."""
    prompt = _Versions(settings_of(table, endpoint, region)).named(version)
    request = _request(context)
    try:
        seen = build_context(request.context, request.profile_features, datetime.now(UTC))
    except InvalidField as error:
        raise BadInput(f"{context}: {error.field}: {error.message}") from None
    messages = prompt.render(seen, n or request.n)
    print(json.dumps(messages, indent=2, ensure_ascii=False) if as_json else as_sent(messages))


@app.command()
def promote(
    version: VersionArgument,
    alias: Annotated[PromptAlias, typer.Option(help="Which alias is to stand for it.")] = "production",
    reason: ReasonOption = "",
    by: ActorOption = None,
    table: TableOption = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
) -> None:
    """Let an alias stand for a version; `tips rollback` takes it back."""
    settings = settings_of(table, endpoint, region)
    prompt = _Versions(settings).named(version)
    if prompt.version not in RELEASED:
        raise BadInput(f"{prompt.version} is a draft: an alias stands for a released version")

    def edit(current: Configuration) -> Configuration:
        aliases = {**current.prompt_aliases, alias: prompt.version}
        return known({**current.model_dump(mode="json"), "prompt_aliases": aliases})

    def told(before: Configuration, _: Configuration) -> str:
        was = before.prompt_aliases.get(alias) or f"{alias_default(alias).version}, the default"
        return f"{alias} stands for {prompt.version} now (before: {was})"

    Operator(settings, by, reason).change(edit, f"prompts promote {prompt.version} --alias {alias}", told)


@dataclass(frozen=True)
class _Versions:
    """Finds versions by name or alias; only an alias needs the table."""

    settings: Settings

    def named(self, name: str) -> Prompt:
        """Return the version; raises `BadInput` that lists the known ones."""
        if alias := alias_named(name):
            prompt = alias_target(alias, aliases := _aliases(self.settings))
            if prompt is None:
                raise BadInput(f"{alias} is to be {aliases[alias]}, no released version here")
            return prompt
        if name not in prompts():
            raise BadInput(f"{name!r} is no prompt version; there are {', '.join((*prompts(), *ALIASES))}")
        return prompts()[name]


def _aliases(settings: Settings) -> Mapping[str, str]:
    stored = read_configuration(connect(settings).get(*keys.CONFIGURATION))
    return dict(stored.configuration.prompt_aliases.items())


def _aliases_or_none(settings: Settings) -> tuple[Mapping[str, str], list[str]]:
    try:
        return _aliases(settings), []
    except TableUnavailable:
        return {}, ["The aliases are the defaults: the table did not answer."]
    except ConfigurationUnreadable:
        return {}, ["The aliases are the defaults: the configuration cannot be read."]


def _request(file: Path) -> GenerateRequest:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        given: Any = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadInput(f"{file}: must be a JSON object: a context, or a whole body of POST /generate")
    body = given if "context" in given or "user_id" in given else {"context": given}
    try:
        return GenerateRequest.model_validate_json(json.dumps({"user_id": _NOBODY, **body}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(": ".join(filter(None, (str(file), place, first["msg"])))) from None
