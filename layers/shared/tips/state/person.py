"""One person's state in one attempt to change it: what was read, what has become of it, the transaction that follows.

Changes are made in memory, one after the other, however many there are. Each item that differs in the end is written
once, on condition that nobody has written it since it was read: all of them take effect, or none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tips import telemetry
from tips.bandit.learning import Lesson, UserLearning, taught
from tips.bandit.registry import present_schemas
from tips.bandit.rewards import ReactionLog
from tips.errors import DecisionUnreadable
from tips.features.profile_counters import CountedReaction
from tips.state import decisions, keys, profiles, prompt_counts, showing, teaching
from tips.state.arms import Arms, generation_id_of
from tips.state.decision_codec import RememberedDecision, read_decision
from tips.state.generations import read_generation
from tips.state.learning import read_learning, write
from tips.state.marks import Mark, advanced_write, mark_write, read_mark
from tips.state.tombstones import not_erased

if TYPE_CHECKING:
    from tips.state.generations import Generation
    from tips.state.table import Item, Table
    from tips.state.teaching import LearningRules

MAX_WRITES = 100
"""Parts of one transaction, as DynamoDB counts."""
MAX_BYTES = 2_000_000
"""Of the decisions that one transaction changes; DynamoDB takes 4 MB in all."""
_MOST_WRITES = 7
"""Of one change: a decision, its wait, two that follow from a showing, an event's mark, a version's counts, an item."""
_SHARED_WRITES = 4
"""Learning, that of prompt versions, the profile's counts, the condition that the person was not erased."""
READ_AT_ONCE = 100
"""Keys of one read, as DynamoDB counts."""

Known = Mapping[tuple[str, str], "Item | None"]
"""Items by key, None for one that is not there."""
_NOTHING: Known = {}


@dataclass(frozen=True, slots=True)
class Needs:
    """What a change has to know: a decision by its id, or the newest that showed a tip (its id, and until when in
    microseconds since 1970); other items of the person, by sort key.

    mark: of an event that names its decision, which knows the events it was told of: the mark is read where there is no
    such decision, or where a transaction has failed, because the mark was there all the same.
    """

    decision_id: str | None = None
    shown_tip: tuple[str, int] | None = None
    items: tuple[str, ...] = ()
    mark: str | None = None

    def with_mark(self) -> Needs:
        return self if self.mark is None else Needs(self.decision_id, self.shown_tip, (*self.items, self.mark))


def keys_of(user_id: str, needs: Sequence[Needs]) -> list[tuple[str, str]]:
    """Return the keys that are read first: what is shared by all changes of a person, and what each names itself."""
    own = [sk for one in needs for sk in one.items]
    own += [keys.decision(one.decision_id) for one in needs if one.decision_id is not None]
    shared = (keys.tombstone(user_id), keys.learning(user_id), keys.arms(user_id), keys.profile(user_id))
    pk = keys.user(user_id)
    return [*shared, *((pk, sk) for sk in own)]


class Person:
    """What the table holds of a person, as far as `needs` ask for it, and what changes make of it.

    now_us: the time of the call, which all its attempts share. known: what was read before, of whomever. It
    may have changed since, as all that is read here: every item is written on a condition. Raises `TableUnavailable`.
    """

    def __init__(
        self,
        table: Table,
        user_id: str,
        needs: Sequence[Needs],
        rules: LearningRules,
        now_us: int,
        known: Known = _NOTHING,
    ) -> None:
        self.user_id = user_id
        self.rules = rules
        self.now_us = now_us
        self._table = table
        self._items: dict[tuple[str, str], Item | None] = {}
        self._known = known
        self._newest: dict[tuple[str, int], str | None] = {}
        self._decisions: dict[str, tuple[RememberedDecision, RememberedDecision]] = {}
        self._marks: dict[str, Mark] = {}
        self._advanced: dict[str, Item] = {}
        self._clocks: dict[str, set[str]] = {}
        self._parts: dict[str, list[dict[str, Any]]] = {}
        self._part_count = self._bytes = 0
        self._prompt_counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._learning: UserLearning | None = None
        self._learning_before: UserLearning | None = None
        self._read(needs)
        if not self.erased:
            self._arms = self._arms_before = Arms.read(self._items[keys.arms(user_id)])
            self._profile = self._profile_before = profiles.read_profile(self._items[keys.profile(user_id)])

    def _read(self, needs: Sequence[Needs]) -> None:
        self._load(keys_of(self.user_id, needs))
        if self.erased:
            return
        for tip in dict.fromkeys(one.shown_tip for one in needs if one.shown_tip is not None):
            self._newest[tip] = decisions.newest_that_showed(self._table, self.user_id, *tip)
        found = [(self._pk, keys.decision(one)) for one in self._newest.values() if one is not None]
        unknown = [one for one in needs if one.mark is not None and self._is_missing(one.decision_id)]
        self._load([*found, *((self._pk, one.mark) for one in unknown if one.mark is not None)])
        self._load(self._generation_keys())

    def _is_missing(self, decision_id: str | None) -> bool:
        return decision_id is None or self._items.get((self._pk, keys.decision(decision_id))) is None

    def _load(self, wanted: Iterable[tuple[str, str]]) -> None:
        missing = []
        for key in dict.fromkeys(wanted):
            if key in self._known:
                self._items[key] = self._known[key]
            elif key not in self._items:
                missing.append(key)
        for start in range(0, len(missing), READ_AT_ONCE):
            some = missing[start : start + READ_AT_ONCE]
            self._items.update(zip(some, self._table.get_all(some), strict=True))

    def _generation_keys(self) -> Iterable[tuple[str, str]]:
        """Yield where the generations lie that wrote the tips of the decisions read."""
        for (_, sk), item in list(self._items.items()):
            if item is None or not sk.startswith(keys.DECISION_PREFIX):
                continue
            try:
                remembered = self._remembered(sk.removeprefix(keys.DECISION_PREFIX))
            except DecisionUnreadable:
                continue  # whose change it is will find that out
            generation_id = None if remembered is None else generation_id_of(remembered.decision)
            if generation_id is not None:
                yield keys.generation(self.user_id), keys.generated(generation_id)

    @property
    def _pk(self) -> str:
        return keys.user(self.user_id)

    # What is known

    @property
    def erased(self) -> bool:
        return self._items[keys.tombstone(self.user_id)] is not None

    def told(self, sk: str) -> Mark | None:
        """Return the mark of an event; None when it was not told before."""
        return self._marks.get(sk) or read_mark(self._items.get((self._pk, sk)))

    def decision(self, needs: Needs) -> RememberedDecision | None:
        """Return the decision that a change is about, as it is now; raises `DecisionUnreadable`."""
        decision_id = needs.decision_id
        if decision_id is None and needs.shown_tip is not None:
            decision_id = self._newest.get(needs.shown_tip)
        return None if decision_id is None else self._remembered(decision_id)

    def _remembered(self, decision_id: str) -> RememberedDecision | None:
        if decision_id not in self._decisions:
            item = self._items.get((self._pk, keys.decision(decision_id)))
            if item is None:
                return None
            remembered = read_decision(item)
            self._decisions[decision_id] = remembered, remembered
        return self._decisions[decision_id][1]

    def item(self, sk: str) -> Item | None:
        """Return another item of the person, as it is now."""
        item, advanced = self._items[self._pk, sk], self._advanced.get(sk)
        return item if advanced is None else {**(item or {}), **advanced}

    @property
    def learning(self) -> UserLearning:
        """Raises `LearningUnreadable`."""
        if self._learning is None:
            self._learning = self._learning_before = read_learning(self._items[keys.learning(self.user_id)])
        return self._learning

    # What becomes of it

    def mark(self, sk: str, mark: Mark) -> None:
        """Remember that an event was told."""
        self._marks[sk] = mark

    def advance(self, sk: str, clock: str, attributes: Item) -> None:
        """Set attributes of another item of the person, among them its clock, which nobody must have set later."""
        self._advanced.setdefault(sk, {}).update(attributes)
        self._clocks.setdefault(sk, set()).add(clock)

    def learn_apart(self, lesson: Lesson | None, counted: CountedReaction | None) -> None:
        """Let a reaction that is to no decision move the sums, the profile's counts, or both.

        Raises `LearningUnreadable`, and then nothing is taken over.
        """
        learning = self._learning if lesson is None else self._after(lesson)
        profile = self._profile if counted is None else self._profile.with_reaction(None, counted, self.now_us)
        self._learning, self._profile = learning, profile

    def _after(self, lesson: Lesson) -> UserLearning:
        after = taught(self.learning, lesson, self.rules.half_life, self.now_us, present_schemas())
        # A lesson counts as a revision, so that it is known which of two came first.
        return UserLearning(after.revision + 1, after.epoch, after.epoch_at, after.schemas)

    def count_shown(self, shown_at_us: int) -> None:
        """Let the profile's counts hold one tip more that was shown."""
        self._profile = self._profile.with_shown(shown_at_us, self.now_us)

    def settle(
        self, before: RememberedDecision, after: RememberedDecision, apart: CountedReaction | None = None
    ) -> bool:
        """Take over what is known of a decision now, with all that follows from it. Returns whether the sums moved.

        apart: what the profile's counts hold of its reaction by itself, from when the decision was not known.
        Raises `LearningUnreadable`, and then nothing is taken over.
        """
        log, learning, arms = before.reactions, self.learning, self._arms
        counted = after.reactions.counted(after.wait_ends_at)
        reward, prompt, generation = None, log.prompt, None
        belongs = teaching.belongs(before, learning)  # else it is of an older epoch, and nothing of it is in the sums
        if belongs:
            reward = after.reactions.reward(after.wait_ends_at, self.rules.default_reward)
            generation = self._generation(after)
            if generation is not None:
                reacted = counted is not None
                arms, prompt = arms.taught(generation, prompt, reward, reacted, self.rules.half_life, self.now_us)
        moves = belongs and reward != log.learned
        if moves:
            learning = self._after(teaching.lesson_of(after.decision, log, reward))
        # The item's revision, not a clock, says what was learned before what.
        learned_in = log.learned_in if log.learned is not None else self.learning.revision + 1
        reactions = ReactionLog(after.reactions.reactions, after.reactions.wait_over, reward, learned_in, prompt)
        in_profile = profiles.counted(counted)
        after = RememberedDecision(
            after.decision, reactions, after.revision, after.shown_at, after.activated_at, in_profile
        )
        profile = self._profile
        for was, now in ((apart, None), (before.counted, after.counted)):
            if was != now:
                profile = profile.with_reaction(was, now, self.now_us)
        moved_counts = prompt_counts.difference(log.prompt, prompt)
        original, _ = self._decisions[after.decision_id]
        parts = _writes_of(original, after)
        # Only now, when nothing can fail any more: half a change would be written with what others change.
        self._learning, self._arms, self._profile = learning, arms, profile
        if generation is not None and prompt != log.prompt:
            self._prompt_counts[generation.version].update(moved_counts)
        self._decisions[after.decision_id] = original, after
        if after.decision_id not in self._parts:
            item = self._items[self._pk, keys.decision(after.decision_id)]
            self._bytes += 0 if item is None else len(item["doc"]["B"])
        self._part_count += len(parts) - len(self._parts.get(after.decision_id, ()))
        self._parts[after.decision_id] = parts
        return moves

    def _generation(self, remembered: RememberedDecision) -> Generation | None:
        """Return what was decided when the tip was written; None where there is nothing to learn with."""
        generation_id = generation_id_of(remembered.decision)
        if generation_id is None:
            return None
        item = self._items.get((keys.generation(self.user_id), keys.generated(generation_id)))
        try:
            return None if item is None else read_generation(item)
        except DecisionUnreadable:
            telemetry.count("PromptLearningUnreadable")
            return None

    # What is written

    @property
    def has_room(self) -> bool:
        """Whether one transaction can hold one change more, whatever it is."""
        parts = self._part_count + len(self._marks) + len(self._advanced) + len(self._prompt_counts)
        return parts + _SHARED_WRITES + _MOST_WRITES <= MAX_WRITES and self._bytes <= MAX_BYTES

    def writes(self) -> list[dict[str, Any]]:
        """Return the transaction, empty if nothing changed."""
        user_id = self.user_id
        writes = [part for parts in self._parts.values() for part in parts]
        for sk, mark in self._marks.items():
            writes.append(mark_write(user_id, sk, read_mark(self._items.get((self._pk, sk))), mark, self.now_us))
        for sk, attributes in self._advanced.items():
            writes.append(advanced_write(user_id, sk, self._items[self._pk, sk], self._clocks[sk], attributes))
        for version, amounts in self._prompt_counts.items():
            writes += prompt_counts.write(version, user_id, amounts)
        learning, before = self._learning, self._learning_before
        if learning is not None and before is not None and learning is not before:
            writes.append(write(keys.learning(user_id), before.revision, learning))
            self._arms = self._arms.with_preferences_of(learning, self.now_us)
        writes += self._arms.writes(user_id, self._arms_before)
        if self._profile is not self._profile_before:
            writes.append(profiles.write(user_id, self._items[keys.profile(user_id)], self._profile))
        # A decision is there as long as nobody has erased the person; other items may have to be made.
        return [*writes, not_erased(user_id)] if writes and not self._parts else writes


def _writes_of(before: RememberedDecision, after: RememberedDecision) -> list[dict[str, Any]]:
    """Return the transaction's parts that belong to one decision alone."""
    writes = [teaching.decision_write(before, after), *showing.writes(before, after)]
    if after.activated_at is not None and after.activated_at != before.activated_at:
        writes.append({"Put": {"Item": teaching.wait_item(after)}})
    return writes
