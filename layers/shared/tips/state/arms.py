"""What was learned of a person's prompt versions: taught by the same reactions as tips, in the same transactions.

A reaction to a tip teaches the version that wrote it with the vector that was logged when it was written. A tip that
was never shown has no decision, and one whose writing was not logged has no vector: neither teaches anything here.
Beside it stands the line on the person's preferences, for prompts. Score and consume write the item; generate only
reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tips import telemetry
from tips.bandit.learning import Lesson, UserLearning, taught
from tips.bandit.preferences import preference_line
from tips.bandit.rewards import PromptLesson
from tips.errors import DecisionUnreadable, LearningUnreadable
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import keys, prompt_counts
from tips.state.generations import Generation, read_generation
from tips.state.learning import read_learning, write

if TYPE_CHECKING:
    from tips.bandit.decision import Decision
    from tips.bandit.forgetting import Microseconds
    from tips.state.table import Item, Table


@dataclass(frozen=True, eq=False)
class Arms:
    """A person's learning of prompt versions, the line on preferences, and the generation reacted to, if any."""

    learning: UserLearning
    preferences: str | None = None
    generation: Generation | None = None

    def lesson(self, had: PromptLesson | None, reward: float | None, reacted: bool) -> PromptLesson | None:
        """Return what a decision teaches of its tip's version, having taught `had`; None: nothing.

        reward: what the decision teaches, None for nothing yet; reacted: whether that is a reaction's.
        """
        if self.generation is None:
            return had
        if reward is None:
            return None
        return PromptLesson(reward, reacted, self.learning.revision + 1 if had is None else had.learned_in)

    def writes(
        self,
        user_id: str,
        had: PromptLesson | None,
        has: PromptLesson | None,
        known: UserLearning,
        half_life: Microseconds,
        now: Microseconds,
    ) -> list[dict[str, Any]]:
        """Return the transaction's parts that move versions' learning and counts from `had` to `has`, and the line.

        known: the person's learning of tips after the same reaction.
        """
        learning, writes = self.learning, []
        if self.generation is not None and has != had:
            writes += prompt_counts.moved(self.generation.version, user_id, had, has)
            if had is None or has is None or had.reward != has.reward:
                learning = taught(learning, self._lesson(self.generation, had, has), half_life, now, ())
        schema = known.schemas.get(CROSSED_V3.hash)
        line = preference_line(None if schema is None else replace(schema, statistics=schema.statistics.as_of(now)))
        if learning is not self.learning or line != self.preferences:
            also = {} if line is None else {"preferences": {"S": line}}
            writes.append(write(keys.arms(user_id), learning, also))
        return writes

    @staticmethod
    def _lesson(generation: Generation, had: PromptLesson | None, has: PromptLesson | None) -> Lesson:
        return Lesson(
            at=keys.decided_at_us(generation.generation_id),
            logged={generation.schema.hash: generation.logged},
            counted=(generation.schema,),
            new=None if has is None else has.reward,
            old=None if had is None else had.reward,
            learned_in=None if had is None else had.learned_in,
        )


def generation_id_of(decision: Decision) -> str | None:
    """Return by which generation the tip shown was written; None for a tip that was not written here."""
    given: str | None = decision.candidates[decision.chosen].get("generation_id")
    return given


def read_arms(table: Table, decision: Decision, item: Item | None) -> Arms | None:
    """Return what a reaction to a decision needs; item: that of `keys.arms`. Raises `TableUnavailable`.

    None when it cannot be read: what the person's reactions teach of tips must not wait for it.
    """
    try:
        learning = read_learning(item)
        preferences = None if item is None or "preferences" not in item else str(item["preferences"]["S"])
        generation_id = generation_id_of(decision)
        if generation_id is None:
            return Arms(learning, preferences)
        found = table.get(keys.generation(decision.user_id), keys.generated(generation_id))
        return Arms(learning, preferences, None if found is None else read_generation(found))
    except (LearningUnreadable, DecisionUnreadable):
        telemetry.count("PromptLearningUnreadable")
        return None
