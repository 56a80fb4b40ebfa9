"""The prompt versions there are, and which of them a request gets.

Adding a version is adding a file `v<number>[_name].py` with a `PROMPT` to this package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

import tips.prompts
from tips.errors import InvalidField
from tips.prompts.prompt import Prompt

STANDARD_VERSION = "v1"

_VERSION_FILE = re.compile(r"v(\d+)(_\w+)?")


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


def resolve(requested: str | None, default: str | None = None) -> Prompt:
    """Return the requested version, else the configured default, else the standard one.

    Raises `InvalidField`, which lists the known versions, when that version is unknown.
    """
    known = prompts()
    version = requested or default or STANDARD_VERSION
    if version in known:
        return known[version]
    what = (
        "unknown prompt version" if requested else f"DEFAULT_PROMPT_VERSION is {version!r}, an unknown prompt version"
    )
    raise InvalidField(f"{what}; known: {', '.join(known)}", field="prompt_version")
