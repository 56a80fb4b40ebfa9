"""The schema under which prompt versions are chosen: for each version, what of the moment and the person it suits.

Every version has components of its own, so that a version that is added takes nothing from the others, and what was
learned of them goes along by name. `bias` is what tips of any version have in common for a person. A version's plain
component means an average hour of an average person; what is not known changes nothing. The moment counts half: that
a person likes a voice shows in fewer reactions than that they like it in the morning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial

from tips.features.crossed_v3 import centred_rate, weekend
from tips.features.vectors import CandidateLike, Encoder, Features, Schema, Situation, clip, cyclic, value_of

SCHEMA_NAME = "prompts-v1"
WEIGHT_OF_SITUATION = 0.5
TASK_COUNT = "task_count"


def prompt_situation(hour: float | None, day: float | None, profile: Features, task_count: int | None) -> Situation:
    """Return the situation that the schema reads: the number of tasks, if known, stands among the profile."""
    return Situation(hour, day, {**profile, TASK_COUNT: task_count})


def _weight_if(version: str, weight: float, candidate: CandidateLike) -> float:
    return weight if candidate.prompt_version == version else 0.0


def _many_tasks(situation: Situation) -> float:
    """-1 without tasks, 0 at three, 1 at fifteen and more."""
    count = max(value_of(situation.profile, TASK_COUNT, 3.0), 0.0)
    return clip(math.log2((1 + count) / 4) / 2, -1.0, 1.0)


_OF_SITUATION: tuple[tuple[str, str, Callable[[Situation], float]], ...] = (
    ("hour_sin", "sin(2 pi hour / 24), unknown 0", cyclic(math.sin, "hour_of_day", 24)),
    ("hour_cos", "cos(2 pi hour / 24), unknown 0", cyclic(math.cos, "hour_of_day", 24)),
    ("weekend", "1 on Saturday and Sunday, else -0.4, unknown 0", weekend),
    ("completion_rate", "2 completion_rate_30d - 1, unknown 0", partial(centred_rate, "completion_rate_30d")),
    ("dismiss_rate", "2 dismiss_rate_30d - 1, unknown 0", partial(centred_rate, "dismiss_rate_30d")),
    ("tasks", "log2((1 + tasks) / 4) / 2 clipped to -1..1, unknown 0", _many_tasks),
)


@cache
def prompt_schema(versions: tuple[str, ...]) -> Schema:
    """Return the schema for these versions: d = 1 + 7 for each of them."""
    return Schema(SCHEMA_NAME, (Encoder("bias", "1"), *(one for version in versions for one in _of_version(version))))


def _of_version(version: str) -> Sequence[Encoder]:
    in_moment = partial(_weight_if, version, WEIGHT_OF_SITUATION)
    alone = f"1 if prompt_version is {version}"
    return (
        Encoder(version, alone, of_category=partial(_weight_if, version, 1.0)),
        *(
            Encoder(
                f"{name}:{version}",
                f"{WEIGHT_OF_SITUATION} * ({definition}) * ({alone})",
                function,
                of_category=in_moment,
            )
            for name, definition, function in _OF_SITUATION
        ),
    )
