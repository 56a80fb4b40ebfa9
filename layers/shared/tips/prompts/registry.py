"""The prompt versions there are, which of them are released, and which of them a request gets.

Adding a version is adding a file `v<number>[_name].py` with a `PROMPT` to this package; until its content hash stands
in `RELEASED` it is a draft, which only its own name gets. An alias stands for a released version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Literal, get_args

import tips.prompts
from tips.contracts.configuration import PromptAlias
from tips.errors import InvalidField
from tips.prompts.prompt import Prompt

STANDARD_VERSION = "v1"
AUTO = "auto"
ALIASES: tuple[PromptAlias, ...] = get_args(PromptAlias)

RELEASED: Mapping[str, str] = MappingProxyType(
    {
        "v1": "25bd0b3355ed7743b329a257ea88dd9a93ab283525abd0caccc5d6e1123939a5",
        "v2-mentor": "3ec577c62c63c9d0eaa581f6d1876cd2161e255b9ddbd247057f46ef154d926c",
        "v3-few-shot": "c22cfca3efd387cdd3542f848ac5f2ab45544788770d9a8af9b8b9d4e0fef979",
        "v4-orchestrator": "6b07ff579abd2bc75d42d9b4d3b3cc0a4be16528a46beef1ca8f13db148fc1f8",
    }
)
"""Content hash by released version. A line here never changes: a better text is a new file with a new version."""

_VERSION_FILE = re.compile(r"v(\d+)(_\w+)?")

Status = Literal["draft", "released", "CHANGED"]


@dataclass(frozen=True)
class Selection:
    """What a request may get: one of `prompts`, each as likely as the others unless `auto` leaves it to learning.

    `stale_alias`: an alias that is configured to stand for what is no released version here, so its default was taken.
    """

    prompts: tuple[Prompt, ...]
    auto: bool = False
    stale_alias: str | None = None


@cache
def prompts() -> Mapping[str, Prompt]:
    """Return all versions by name, oldest first. Raises `ValueError` when two files claim one version."""
    files = sorted(
        (int(match[1]), module.name)
        for module in iter_modules(tips.prompts.__path__)
        if (match := _VERSION_FILE.fullmatch(module.name))
    )
    found: dict[str, Prompt] = {}
    for _, name in files:
        prompt: Prompt = import_module(f"tips.prompts.{name}").PROMPT
        if prompt.version in found:
            raise ValueError(f"two files define the prompt version {prompt.version}")
        found[prompt.version] = prompt
    return MappingProxyType(found)


def released() -> tuple[Prompt, ...]:
    """Return the released versions, oldest first."""
    return tuple(prompt for prompt in prompts().values() if prompt.version in RELEASED)


def status(prompt: Prompt) -> Status:
    """Return whether the version is released, and still says what it said then."""
    if prompt.version not in RELEASED:
        return "draft"
    return "released" if RELEASED[prompt.version] == prompt.content_hash else "CHANGED"


def alias_named(name: str) -> PromptAlias | None:
    """Return the alias of that name, if there is one."""
    return next((alias for alias in ALIASES if alias == name), None)


def alias_default(alias: PromptAlias) -> Prompt:
    """Return what the alias stands for while no configuration says otherwise."""
    return prompts()[STANDARD_VERSION] if alias == "production" else released()[-1]


def alias_target(alias: PromptAlias, aliases: Mapping[str, str]) -> Prompt | None:
    """Return what the alias stands for under the configured `aliases`; None where that is no released version here."""
    if alias not in aliases:
        return alias_default(alias)
    return prompts().get(aliases[alias]) if aliases[alias] in RELEASED else None


def select(requested: str | None, experiment: str | None, default: str | None, aliases: Mapping[str, str]) -> Selection:
    """Return what the request asks for, else the experiment's arm, else the configured default, else the standard one.

    Each is a version, an alias, several of these with commas between them, or `auto`; a blank one counts as not given.
    `aliases`: version by alias, as configured. Raises `InvalidField`, which lists what is known, for anything else.
    """
    wanted = (
        (requested, "unknown prompt version"),
        (experiment, f"an experiment's arm is {experiment!r}, an unknown prompt version"),
        (default, f"DEFAULT_PROMPT_VERSION is {default!r}, an unknown prompt version"),
    )
    for text, unknown in wanted:
        if names := [name.strip() for name in (text or "").split(",") if name.strip()]:
            return _selected(names, aliases, unknown)
    return _selected([STANDARD_VERSION], aliases, "")


def _selected(names: Sequence[str], aliases: Mapping[str, str], unknown: str) -> Selection:
    if names == [AUTO]:
        return Selection(released(), auto=True)
    found: dict[str, Prompt] = {}
    stale: str | None = None
    for name in names:
        alias = alias_named(name)
        prompt = alias_target(alias, aliases) if alias else prompts().get(name)
        if alias and prompt is None:
            prompt, stale = alias_default(alias), stale or alias
        if prompt is None:
            known = f"{', '.join(prompts())}; aliases: {', '.join(ALIASES)}; or {AUTO} alone"
            raise InvalidField(f"{unknown}; known: {known}", field="prompt_version")
        found[prompt.version] = prompt
    return Selection(tuple(found.values()), stale_alias=stale)
