"""Bodies of `POST /score`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, SkipValidation
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from tips.contracts.common import (
    Answer,
    Body,
    CandidateFeatures,
    DayOfWeek,
    HourOfDay,
    Id,
    Name,
    ProfileFeatures,
    TipKind,
)

MAX_CANDIDATES = 200


class Candidate(Body):
    """One tip that could be shown. `content` is never stored or logged."""

    id: Id
    kind: TipKind | None = None
    source: Name | None = None
    content: Annotated[str, Field(max_length=500)] | None = None
    prompt_version: Name | None = None
    model: Id | None = None
    generation_id: Id | None = None
    features: CandidateFeatures = Field(default_factory=dict)

    def without_content(self) -> dict[str, Any]:
        """Return what may be remembered of the candidate; None: not given."""
        kept = vars(self).copy()
        del kept["content"]
        return kept


class ScoreContext(Body):
    """Just-in-time context of a decision, the same for all its candidates."""

    hour_of_day: HourOfDay | None = None
    day_of_week: DayOfWeek | None = None
    timezone: Name | None = None
    tasks: Annotated[list[Any], Field(max_length=1000)] | None = None


def _distinct_ids(candidates: list[Candidate]) -> list[Candidate]:
    if len({candidate.id for candidate in candidates}) == len(candidates):
        return candidates
    seen: set[str] = set()
    for index, candidate in enumerate(candidates):
        if candidate.id in seen:
            raise PydanticCustomError("duplicate_id", "must be unique among the candidates", {"field": f"{index}.id"})
        seen.add(candidate.id)
    return candidates


class ScoreRequest(Body):
    """Candidates to choose from, for one person, now."""

    user_id: Id
    candidates: Annotated[
        list[Candidate], Field(min_length=1, max_length=MAX_CANDIDATES), AfterValidator(_distinct_ids)
    ]
    context: ScoreContext = ScoreContext.model_construct()
    profile_features: ProfileFeatures | None = None
    policy: Name | None = None
    explain: bool = False
    defer: bool = False


class RankedCandidate(TypedDict):
    id: str
    score: float
    propensity: float


class Explanation(Answer):
    """Contributions add up to the chosen candidate's score."""

    contributions: dict[str, float]
    sentence: str


class ScoreResponse(Answer):
    tip_id: str
    score: float
    policy: str
    decision_id: str
    propensity: float
    ranking: SkipValidation[list[RankedCandidate]]
    explored: bool
    policy_version: str
    schema_hash: str
    degraded: bool
    logged: bool
    explanation: Explanation | None = None
