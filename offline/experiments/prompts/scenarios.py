"""What models are asked to write tips for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from offline.command import BadInput
from tips.contracts.common import ProfileFeatures
from tips.contracts.generation import MAX_TIPS, PromptContext
from tips.errors import InvalidField
from tips.features.context import build_context

BUILT_IN = Path(__file__).with_name("scenarios.json")
# Of scenarios that say no hour: what is written must not follow from when it is written.
_NOW = datetime(2026, 1, 7, 9, tzinfo=UTC)


class Scenario(BaseModel):
    """A person's moment: the context as `POST /generate` takes it, and how many tips are wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
    description: str = ""
    n: Annotated[int, Field(ge=1, le=MAX_TIPS)] = 3
    context: PromptContext
    profile_features: ProfileFeatures | None = None

    def seen(self) -> dict[str, Any]:
        """Return what a prompt sees of it. Raises `InvalidField` for an unknown time zone."""
        return build_context(self.context, self.profile_features, _NOW)


_SCENARIOS = TypeAdapter(list[Scenario])


def read_scenarios(file: Path | None) -> Sequence[Scenario]:
    """Return the scenarios of a JSON file, None: those that come with this; raises `BadInput`."""
    path = file or BUILT_IN
    try:
        scenarios = _SCENARIOS.validate_json(path.read_bytes())
        for scenario in scenarios:
            scenario.seen()
    except OSError as error:
        raise BadInput(f"--scenarios: {path} cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise BadInput(f"--scenarios: {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except InvalidField as error:
        raise BadInput(f"--scenarios: {path}: {scenario.name}: {error.field}: {error.message}") from None
    names = [scenario.name for scenario in scenarios]
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadInput(f"--scenarios: {path} must hold at least two scenarios, each with a name of its own")
    return scenarios
