"""What `generate` reads of a person and leaves of each generation; all of it lies in the partition kept for it.

One read brings what was learned of prompt versions, the line on preferences, the profile's counts, whether the person
was erased, what all requests share if that is due, and the breakers. A table that is away delays one request in
`_PAUSE_SEC`; none fails.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from tips import telemetry
from tips.bandit.learning import UserLearning
from tips.errors import LearningUnreadable, TableUnavailable, WriteConflict
from tips.state import keys
from tips.state.generations import generation_item
from tips.state.learning import read_learning
from tips.state.profiles import read_profile
from tips.state.showing import shown_signature
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from tips.features.profile_counters import ProfileCounters
    from tips.features.similarity import Signature
    from tips.state.generations import Generation
    from tips.state.shared_knowledge import SharedKnowledge
    from tips.state.table import Item, Table

RECENT = 50
"""How many of the tips a person was shown last no new one may be too like."""
_LOOKED_AT = 4 * RECENT
"""Among which may be tips of deferred decisions, which nobody has seen."""
_PAUSE_SEC = 5.0


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the table said. known: whether it answered; `breakers`: their items, in the order of the models."""

    known: bool = False
    erased: bool = False
    learning: UserLearning = field(default_factory=UserLearning)
    preferences: str | None = None
    profile: ProfileCounters | None = None
    breakers: Sequence[Item | None] = ()


class GenerationMemory:
    """The table as `generate` uses it. table: with the time-out of a call."""

    def __init__(self, table: Table, shared: SharedKnowledge) -> None:
        self.shared = shared
        self._table = table
        self._away_until = 0.0

    def recall(self, user_id: str, models: Sequence[str]) -> Recalled:
        """Read what a generation needs; models: those whose breakers are wanted."""
        nothing = Recalled(breakers=[None] * len(models))
        if time.monotonic() < self._away_until:
            return nothing
        due = self.shared.keys_due()
        breakers = [keys.breaker(model) for model in models]
        try:
            own = [keys.tombstone(user_id), keys.arms(user_id), keys.profile(user_id)]
            tombstone, arms, counters, *rest = self._table.get_all([*own, *breakers, *due])
        except (TableUnavailable, WriteConflict):
            self._away("MemoryNotRead")
            return nothing
        self.shared.update(rest[len(breakers) :])
        breaker_items = rest[: len(breakers)]
        if tombstone is not None:
            return Recalled(known=True, erased=True, breakers=breaker_items)
        profile = read_profile(counters)
        try:
            learning = read_learning(arms)
        except LearningUnreadable:
            telemetry.count("PromptLearningUnreadable")
            return Recalled(known=True, profile=profile, breakers=breaker_items)
        preferences = None if arms is None or "preferences" not in arms else str(arms["preferences"]["S"])
        return Recalled(True, False, learning, preferences, profile, breaker_items)

    def aliases(self) -> dict[str, str]:
        """Return the prompt aliases as configured, as last read; a table that does not answer changes nothing."""
        if (due := self.shared.keys_due()) and time.monotonic() >= self._away_until:
            try:
                self.shared.update(self._table.get_all(due))
            except (TableUnavailable, WriteConflict):
                self._away("MemoryNotRead")
        return dict(self.shared.configuration.prompt_aliases.items())

    def recently_shown(self, user_id: str) -> list[Signature]:
        """Return what the person's last `RECENT` tips said, newest first; nothing when the table does not answer."""
        prefix = keys.SHOWN_TEXT_PREFIX
        try:
            items = self._table.query(keys.generation(user_id), prefix, prefix + "~", limit=_LOOKED_AT, page=RECENT)
            shown = (one for item in items if (one := shown_signature(item)) is not None)
            return list(islice(shown, RECENT))
        except (TableUnavailable, WriteConflict):
            self._away("RecentTipsNotRead")
            return []
        except (ValueError, LookupError, TypeError):
            telemetry.count("RecentTipsNotRead")
            return []

    def remember(self, generation: Generation) -> bool:
        """Store a generation unless the person was erased. Returns whether it is stored."""
        if time.monotonic() < self._away_until:
            return False
        try:
            put = {"Put": {"Item": generation_item(generation)}}
            self._table.transact([put, not_erased(generation.user_id)])
        except (TableUnavailable, WriteConflict):
            telemetry.count("GenerationNotLogged")
            return False
        return True

    def _away(self, metric: str) -> None:
        self._away_until = time.monotonic() + _PAUSE_SEC
        telemetry.count(metric)
