"""What was learned of a person, said in one line that a prompt can use.

The line is made of fixed words alone. It speaks of what the person has reacted to often enough, and only where the mean
reward, drawn towards zero by two reactions' worth, says something clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tips.bandit.learning import SchemaLearning

_SPOKEN = {
    "kind_task": "tips about one of their tasks",
    "kind_advice": "advice on how to work",
    "kind_insight": "insights into their day and habits",
    "kind_reminder": "reminders",
    "is_overdue": "being reminded of overdue tasks",
}
_DRAWN_TO_ZERO = 2.0
_ENOUGH = 3.0
_CLEAR = 0.25


def preference_line(learned: SchemaLearning | None) -> str | None:
    """Return what the person likes and what not; None while nothing is clear. learned: as of now."""
    if learned is None:
        return None
    likes: list[tuple[float, str]] = []
    dislikes: list[tuple[float, str]] = []
    place = {name: index for index, name in enumerate(learned.names)}
    for name, spoken in _SPOKEN.items():
        if name not in place:
            continue
        at = place[name]
        count = float(learned.statistics.xx[at, at])  # the component is 0 or 1, so this is how often it was 1
        mean = float(learned.statistics.rx[at]) / (count + _DRAWN_TO_ZERO)
        if count >= _ENOUGH and abs(mean) >= _CLEAR:
            (likes if mean > 0 else dislikes).append((abs(mean), spoken))
    parts = [
        f"{said} {', '.join(spoken for _, spoken in sorted(some, reverse=True))}"
        for said, some in (("has liked", likes), ("has not liked", dislikes))
        if some
    ]
    return "; ".join(parts) or None
