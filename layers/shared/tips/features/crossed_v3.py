"""`crossed-v3`: what a candidate is, crossed with time of day, weekday and profile.

Of a linear model only such products let the hour or the person's profile change the ranking; alone they add the same
to every candidate. What is crossed is centred where it can be (hours lie on a circle, weekend and rates around zero),
so that the plain components mean an average hour of an average person, and an unknown hour or rate changes nothing.

Categories: a kind, source or prompt version that is absent has zero in all components of its group; one that is not
listed has its place in `source_other` or `prompt_other`. Todoist, the person's own tasks, is the source that others
are measured against.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tips.features.vectors import (
    TASK,
    CandidateLike,
    Encoder,
    Schema,
    Situation,
    clip,
    cyclic,
    is_overdue,
    priority,
    tip_volume,
    value_of,
)

KINDS = ("task", "advice", "insight", "reminder")
SOURCES = ("llm", "advice", "fallback")
REFERENCE_SOURCE = "todoist"
PROMPT_VERSIONS = ("v1", "v2-mentor", "v3-few-shot")

OfSituation = Callable[[Situation], float]


def _is_kind(kind: str, candidate: CandidateLike) -> float:
    return float(candidate.kind == kind)


def _is_source(source: str, candidate: CandidateLike) -> float:
    return float(candidate.source == source)


def _is_other_source(candidate: CandidateLike) -> float:
    return float(candidate.source is not None and candidate.source not in (*SOURCES, REFERENCE_SOURCE))


def _is_prompt(version: str, candidate: CandidateLike) -> float:
    return float(candidate.prompt_version == version)


def _is_other_prompt(candidate: CandidateLike) -> float:
    return float(candidate.prompt_version is not None and candidate.prompt_version not in PROMPT_VERSIONS)


def _is_other_than_a_task(candidate: CandidateLike) -> float:
    return float(candidate.kind is not None and candidate.kind != "task")


def weekend(situation: Situation) -> float:
    """1 on Saturday and Sunday, -0.4 on the other days: over a week the mean is zero."""
    if situation.day_of_week is None:
        return 0.0
    return 1.0 if situation.day_of_week >= 5 else -0.4


def centred_rate(name: str, situation: Situation) -> float:
    value = situation.profile.get(name)
    return 0.0 if value is None else 2.0 * float(value) - 1.0


def _around_preferred_hour(situation: Situation) -> float:
    preferred = situation.profile.get("preferred_hour")
    if preferred is None or situation.hour_of_day is None:
        return 0.0
    return math.cos(2 * math.pi * (preferred - situation.hour_of_day) / 24)


def _dwell(situation: Situation) -> float:
    return clip(value_of(situation.profile, "mean_dwell_ms_30d", 0.0) / 600_000, 0.0, 1.0)


_IS_KIND = {kind: partial(_is_kind, kind) for kind in KINDS}
_SITUATIONS: dict[str, tuple[str, OfSituation]] = {
    "hour_sin": ("sin(2 pi hour / 24), unknown 0", cyclic(math.sin, "hour_of_day", 24)),
    "hour_cos": ("cos(2 pi hour / 24), unknown 0", cyclic(math.cos, "hour_of_day", 24)),
    "weekend": ("1 on Saturday and Sunday, else -0.4, unknown 0", weekend),
    "completion_rate": ("2 completion_rate_30d - 1, unknown 0", partial(centred_rate, "completion_rate_30d")),
    "dismiss_rate": ("2 dismiss_rate_30d - 1, unknown 0", partial(centred_rate, "dismiss_rate_30d")),
    "preferred_hour": ("cos(2 pi (preferred_hour - hour) / 24), unknown 0", _around_preferred_hour),
    "mean_dwell": ("mean_dwell_ms_30d / 600000 clipped to 0..1, unknown 0", _dwell),
    "tip_volume": ("log1p(tip_volume_30d) / log1p(100) clipped to 0..1, unknown 0", tip_volume),
}
_CANDIDATES = {
    "task": Encoder("task", "1 if kind is task", of_category=_IS_KIND["task"]),
    "other": Encoder("other", "1 if kind is known and not task", of_category=_is_other_than_a_task),
    "overdue": Encoder("overdue", "1 if overdue, unknown 0", of_candidate=is_overdue),
    "priority": Encoder("priority", "(priority - 1) / 3, unknown 0", of_candidate=priority),
}
_CROSSES = (
    *((part, candidate) for candidate in ("task", "other", "overdue", "priority") for part in ("hour_sin", "hour_cos")),
    ("weekend", "task"),
    ("weekend", "other"),
    ("weekend", "priority"),
    ("completion_rate", "task"),
    ("preferred_hour", "task"),
    ("dismiss_rate", "other"),
    ("mean_dwell", "other"),
    ("tip_volume", "other"),
)


def _cross(situation: str, candidate: str) -> Encoder:
    definition, of_situation = _SITUATIONS[situation]
    alone = _CANDIDATES[candidate]
    return replace(
        alone,
        name=f"{situation}:{candidate}",
        definition=f"({definition}) * ({alone.definition})",
        of_situation=of_situation,
    )


CROSSED_V3 = Schema(
    "crossed-v3",
    (
        Encoder("bias", "1"),
        *(Encoder(f"kind_{kind}", f"1 if kind is {kind}", of_category=_IS_KIND[kind]) for kind in KINDS),
        *(
            Encoder(f"source_{source}", f"1 if source is {source}", of_category=partial(_is_source, source))
            for source in SOURCES
        ),
        Encoder(
            "source_other",
            f"1 if source is none of {', '.join(SOURCES)}, {REFERENCE_SOURCE}",
            of_category=_is_other_source,
        ),
        *(
            Encoder(f"prompt_{version}", f"1 if prompt_version is {version}", of_category=partial(_is_prompt, version))
            for version in PROMPT_VERSIONS
        ),
        Encoder(
            "prompt_other",
            f"1 if prompt_version is none of {', '.join(PROMPT_VERSIONS)}",
            of_category=_is_other_prompt,
        ),
        *TASK,
        *(_cross(situation, candidate) for situation, candidate in _CROSSES),
    ),
)
