"""Bodies of `POST /generate` and `GET /prompts`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tips.contracts.common import (
    Answer,
    Body,
    DayOfWeek,
    HourOfDay,
    Id,
    Name,
    ProfileFeatures,
    TipKind,
    Whole,
)

MAX_TIPS = 10


PromptChoice = Annotated[
    str, Field(max_length=256, description="a version, an alias, several of them separated by commas, or auto")
]


class PromptTask(Body):
    """A task of the person, as their app knows it. A long title is cut and one without words is passed over."""

    id: Id
    content: str
    is_overdue: bool | None = None
    task_age_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    priority: Annotated[int, Field(ge=1, le=4), Whole] | None = None
    due: str | None = None


class PromptContext(Body):
    """What a prompt may know of the person right now; all of it optional.

    As much as a body holds is taken: `tips.features.context` chooses and cuts, so that no app's long list or text
    refuses a person their tips.
    """

    tasks: list[PromptTask] | None = None
    hour_of_day: HourOfDay | None = None
    day_of_week: DayOfWeek | None = None
    timezone: Name | None = None
    snippets: list[str] | None = None


class GenerateRequest(Body):
    user_id: Id
    context: PromptContext = PromptContext.model_construct()
    n: Annotated[int, Field(ge=1, le=MAX_TIPS), Whole] = 3
    prompt_version: PromptChoice | None = None
    profile_features: ProfileFeatures | None = None


class TipCandidate(Answer):
    """A written tip, ready to be a candidate of `POST /score`."""

    id: str
    content: str
    kind: TipKind
    source: str
    rationale: str | None = None
    prompt_version: str
    model: str
    generation_id: str


class GenerateResponse(Answer):
    """`prompt_propensity`: the probability with which the version was chosen; `logged`: whether reactions find it."""

    candidates: list[TipCandidate]
    model: str
    prompt_version: str
    prompt_propensity: float
    generation_id: str
    prompt_tokens: int
    completion_tokens: int
    attempts: int
    fallback: bool
    cost_usd: float | None = None
    logged: bool


class PromptInfo(Answer):
    version: str
    description: str
    content_hash: str
    released: bool


class PromptsResponse(Answer):
    """`default`: what a request gets that names nothing."""

    default: str
    aliases: dict[str, str]
    versions: list[PromptInfo]


class PromptStats(Answer):
    """What reactions say of a version.

    Of the tips `shown`, `settled` have a reaction or have had their time for one; `mean_reward` is that of the settled
    ones, and `interval` covers it with the answer's `confidence`, at all times at once. Both are null before the first.
    """

    version: str
    shown: int
    settled: int
    reactions: int
    mean_reward: float | None
    interval: tuple[float, float] | None


class PromptStatsResponse(Answer):
    confidence: float
    versions: list[PromptStats]


class GenerateHealth(Answer):
    ok: bool
    version: str
    model: str | None
