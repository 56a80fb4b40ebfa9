"""Exports of people who were really served and learned from, by the service's own arithmetic, without its handlers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from offline.feature_store.logs import Logs
from tests.lab.exports import HOUR_US, NOW, US, decision_id_at, exported
from tips.bandit.decision import Decision, Evaluation, draw
from tips.bandit.learning import UserLearning, taught
from tips.bandit.policy import Policy
from tips.bandit.posterior import form_posterior
from tips.bandit.registry import POLICIES, present_schemas
from tips.bandit.rewards import Reaction, ReactionLog
from tips.features.vectors import Candidate, Situation
from tips.state import keys
from tips.state.decision_codec import RememberedDecision, decision_item, reactions_value
from tips.state.learning import learning_item
from tips.state.teaching import lesson_of

Item = dict[str, Any]
END_US = round(NOW.timestamp() * US)


@dataclass(frozen=True)
class World:
    """Who lives in an export. reaction_share: of decisions; the others get the default reward of 0."""

    people: int = 14
    decisions: int = 24
    policy: Policy = POLICIES["igw-ucb"]
    shadows: tuple[str, ...] = ()
    reaction_share: float = 0.8
    seed: int = 0

    def items(self) -> list[Item]:
        """Return the table's items."""
        found: list[Item] = []
        for number in range(self.people):
            found += self._items_of(f"person-{number:03}", np.random.default_rng([self.seed, number]))
        return found

    def export(self, folder: Path, **options: Any) -> Logs:
        return exported(self.items(), folder, **options)

    def _items_of(self, user_id: str, chance: np.random.Generator) -> list[Item]:
        # Most like advice in the evening and tasks in the morning; how much is a person's own.
        taste = 0.6 + 0.2 * float(chance.standard_normal())
        learning = UserLearning(revision=1)
        coming: list[tuple[int, int, Decision, ReactionLog]] = []
        items = []
        for number in range(self.decisions):
            # Closer than rewards take to arrive.
            at_us = END_US - (26 + (self.decisions - number) * 5) * HOUR_US
            while coming and coming[0][0] <= at_us:
                learning = _learned(learning, *heapq.heappop(coming))
            decision = self._decided(user_id, at_us, number, learning, chance)
            log, arrives_us = self._reaction(decision, at_us, taste, chance)
            heapq.heappush(coming, (arrives_us, number, decision, log))
            items.append({**decision_item(decision), "reactions": reactions_value(log), "rev": {"N": "1"}})
        while coming:
            learning = _learned(learning, *heapq.heappop(coming))
        return [*items, learning_item(keys.learning(user_id), learning)]

    def _decided(
        self, user_id: str, at_us: int, number: int, learning: UserLearning, chance: np.random.Generator
    ) -> Decision:
        decision_id = decision_id_at(at_us, number)
        situation = Situation(float(chance.integers(0, 24)), float(number % 7), {})
        candidates = [_candidate(place, chance) for place in range(4)]
        evaluations = {}
        chosen = 0
        for policy in (self.policy, *(POLICIES[name] for name in self.shadows)):
            X = policy.schema.encode(situation, [Candidate.from_log(one) for one in candidates])
            distribution, parameters = policy.distribution(X, form_posterior(learning.statistics(policy.schema)))
            if policy is self.policy:
                chosen = draw(distribution.propensity, decision_id)
            evaluations[policy.name] = Evaluation(
                policy.name,
                policy.version,
                policy.schema.hash,
                policy.schema.names,
                parameters,
                distribution,
                X[chosen],
            )
        return Decision(
            user_id=user_id,
            decision_id=decision_id,
            candidates=candidates,
            situation=situation,
            chosen=chosen,
            policy=self.policy.name,
            evaluations=evaluations,
            epoch=0,
            degraded=False,
            reward_wait_us=24 * HOUR_US,
        )

    def _reaction(
        self, decision: Decision, at_us: int, taste: float, chance: np.random.Generator
    ) -> tuple[ReactionLog, int]:
        shown = decision.candidates[decision.chosen]
        evening = (decision.situation.hour_of_day or 0.0) >= 14
        liking = taste if (shown["kind"] == "advice") == evening else -taste
        reward = float(np.clip(liking + 0.3 * chance.standard_normal(), -1.0, 1.0))
        if chance.random() < self.reaction_share:
            reaction = Reaction(
                reward, at_us + int(chance.integers(1, 23)) * HOUR_US, decision.decision_id, "done", 5000
            )
            return ReactionLog((reaction,), learned=reward, learned_in=1), reaction.occurred_at
        return ReactionLog(wait_over=True, learned=0.0, learned_in=1), at_us + 24 * HOUR_US


def _learned(learning: UserLearning, _at: int, _number: int, decision: Decision, log: ReactionLog) -> UserLearning:
    remembered = RememberedDecision(decision, log)
    reward = log.reward(remembered.wait_ends_at, 0.0)
    lesson = lesson_of(decision, replace(log, learned=None), reward)
    after = taught(learning, lesson, 0, _at, present_schemas())
    return replace(after, revision=after.revision + 1)


def _candidate(place: int, chance: np.random.Generator) -> dict[str, Any]:
    task = place % 2 == 0
    return {
        "id": f"c{place}",
        "kind": "task" if task else "advice",
        "source": "todoist" if task else "llm",
        "features": {"priority": float(chance.integers(1, 5)), "is_overdue": bool(chance.random() < 0.3)},
    }


def people_in(items: Sequence[Item]) -> set[str]:
    return {item["pk"]["S"].removeprefix(keys.user("")) for item in items}
