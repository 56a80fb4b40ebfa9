"""The configuration file of training."""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from offline.command import BadInput
from tips.bandit.registry import POLICIES
from tips.bandit.tuning import BOUNDS, tuned

DEFAULT = Path(__file__).with_name("default.toml")
STRENGTH = "max_strength"
"""The one number of a grid that is not the policy's but the prior's."""
MOST_COMPARED = 64

Strength = Annotated[float, Field(ge=1.0, le=1000.0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelPart(_Part):
    policy: str
    min_explore: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02

    @model_validator(mode="after")
    def _known(self) -> ModelPart:
        if self.policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}")
        return self


class DataPart(_Part):
    source: Literal["statistics", "decisions"] = "statistics"
    erased: Literal["check", "as exported"] = "check"


class PriorPart(_Part):
    max_kinds: Annotated[int, Field(ge=1, le=4)] = 1
    max_strength: Strength = 20.0
    seed: Annotated[int, Field(ge=0)] = 0


class TuningPart(_Part):
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    min_effective_sample: Annotated[float, Field(ge=1.0)] = 200.0
    grid: dict[str, Annotated[list[float], Field(min_length=1)]] = {}


class TrainingConfig(_Part):
    """What is trained, on what, and how."""

    model: ModelPart
    data: DataPart = DataPart()
    prior: PriorPart = PriorPart()
    tuning: TuningPart = TuningPart()

    @model_validator(mode="after")
    def _grid_is_the_policys(self) -> TrainingConfig:
        policy = POLICIES[self.model.policy]
        known = [*BOUNDS[policy.name], STRENGTH]
        for name in self.tuning.grid:
            if name not in known:
                raise ValueError(f"tuning.grid has {name!r}, which {policy.name} has not; there are {', '.join(known)}")
        points = self.points()
        if len(points) > MOST_COMPARED:
            raise ValueError(
                f"tuning.grid has {len(points)} combinations, and at most {MOST_COMPARED} can be told apart"
            )
        for point in points:
            tuned(policy, {name: value for name, value in point.items() if name != STRENGTH})
            if not 1.0 <= point.get(STRENGTH, 1.0) <= self.prior.max_strength:
                raise ValueError(f"tuning.grid.{STRENGTH} must be from 1 to prior.max_strength")
        return self

    @classmethod
    def read(cls, path: Path) -> TrainingConfig:
        """Raises `BadInput` that names the file and the field."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadInput(f"--config: {path} cannot be read as TOML: {error}") from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise BadInput(f"--config: {path}: {place}: {first['msg']}") from None

    def points(self) -> list[dict[str, float]]:
        """Return all combinations of the grid; empty without one."""
        grid = self.tuning.grid
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())] if grid else []

    def document(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of SHA-256 over what it says, whatever the file's layout and comments."""
        text = json.dumps(self.document(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
