"""The line on preferences says what reactions said, in fixed words."""

from __future__ import annotations

import numpy as np

from tips.bandit.learning import SchemaLearning
from tips.bandit.preferences import preference_line
from tips.bandit.statistics import Statistics
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import Candidate, Situation


def learned(*reactions: tuple[str, float, int], overdue: bool = False) -> SchemaLearning:
    statistics = Statistics.empty(CROSSED_V3.dimension)
    for kind, reward, times in reactions:
        X = CROSSED_V3.encode(Situation(9, 2), [Candidate({"is_overdue": overdue}, kind=kind)])
        for _ in range(times):
            statistics = statistics.learn(X[0], 0, None, reward)
    return SchemaLearning(statistics, CROSSED_V3.name, CROSSED_V3.names, 0)


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert preference_line(None) is None
    assert preference_line(learned()) is None
    assert preference_line(learned(("advice", 1.0, 2))) is None, "two reactions are no habit"
    assert preference_line(learned(("advice", 0.1, 50))) is None, "lukewarm is no preference"


def test_likes_come_before_dislikes_and_the_clearest_first() -> None:
    line = preference_line(learned(("advice", 1.0, 10), ("reminder", 0.6, 10), ("insight", -1.0, 5)))
    assert line == "has liked advice on how to work, reminders; has not liked insights into their day and habits"


def test_overdue_tasks_are_spoken_of() -> None:
    line = preference_line(learned(("task", -0.8, 6), overdue=True))
    assert line is not None
    assert "being reminded of overdue tasks" in line
    assert line.startswith("has not liked")


def test_what_another_schema_learned_is_left_alone() -> None:
    statistics = Statistics(np.eye(2), np.ones(2))
    assert preference_line(SchemaLearning(statistics, "other", ("a", "b"), 0)) is None
