"""What was learned of a person's prompt versions: taught by the same reactions as tips, in the same transactions.

A reaction to a tip teaches the version that wrote it with the vector that was logged when it was written. A tip that
was never shown has no decision, and one whose writing was not logged has no vector: neither teaches anything here.
Beside it stands the line on the person's preferences, for prompts. Score and consume write the item; generate only
reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from tips import telemetry
from tips.bandit.learning import Lesson, UserLearning, taught
from tips.bandit.preferences import preference_line
from tips.bandit.rewards import PromptLesson
from tips.errors import LearningUnreadable
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import keys
from tips.state.learning import read_learning, write

if TYPE_CHECKING:
    from tips.bandit.decision import Decision
    from tips.bandit.forgetting import Microseconds
    from tips.state.generations import Generation
    from tips.state.table import Item


@dataclass(frozen=True, eq=False)
class Arms:
    """A person's learning of prompt versions and the line on preferences.

    learning: None when it cannot be read; then it is left as it is, and what reactions teach of tips does not wait.
    """

    learning: UserLearning | None
    preferences: str | None = None

    @classmethod
    def read(cls, item: Item | None) -> Self:
        """Return what the item of `keys.arms` holds."""
        try:
            preferences = None if item is None or "preferences" not in item else str(item["preferences"]["S"])
            return cls(read_learning(item), preferences)
        except (LearningUnreadable, LookupError, TypeError):
            telemetry.count("PromptLearningUnreadable")
            return cls(None)

    def taught(
        self,
        generation: Generation,
        had: PromptLesson | None,
        reward: float | None,
        reacted: bool,
        half_life: Microseconds,
        now: Microseconds,
    ) -> tuple[Self, PromptLesson | None]:
        """Return the learning after a decision's reward, having been taught `had` by it, and what it was taught now.

        reward: None for nothing (yet); reacted: whether that is a reaction's.
        """
        if self.learning is None:
            return self, had
        has = None
        if reward is not None:
            has = PromptLesson(reward, reacted, self.learning.revision + 1 if had is None else had.learned_in)
        lesson = Lesson(
            at=keys.decided_at_us(generation.generation_id),
            logged={generation.schema.hash: generation.logged},
            counted=(generation.schema,),
            new=reward,
            old=None if had is None else had.reward,
            learned_in=None if had is None else had.learned_in,
        )
        if lesson.new == lesson.old:
            return self, has
        learning = taught(self.learning, lesson, half_life, now, ())
        return replace(self, learning=replace(learning, revision=learning.revision + 1)), has

    def with_preferences_of(self, known: UserLearning, now: Microseconds) -> Self:
        """Return the line as it follows from what is known of tips."""
        schema = known.schemas.get(CROSSED_V3.hash)
        line = preference_line(None if schema is None else replace(schema, statistics=schema.statistics.as_of(now)))
        return self if line == self.preferences else replace(self, preferences=line)

    def writes(self, user_id: str, before: Arms) -> list[dict[str, Any]]:
        """Return the transaction's part, if any, that replaces what was `before`."""
        if self is before or self.learning is None or before.learning is None:
            return []
        learning = self.learning
        if learning is before.learning:
            learning = replace(learning, revision=learning.revision + 1)
        also = {} if self.preferences is None else {"preferences": {"S": self.preferences}}
        return [write(keys.arms(user_id), before.learning.revision, learning, also)]


def generation_id_of(decision: Decision) -> str | None:
    """Return by which generation the tip shown was written; None for a tip that was not written here."""
    given: str | None = decision.candidates[decision.chosen].get("generation_id")
    return given
