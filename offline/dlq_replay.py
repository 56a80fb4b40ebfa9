"""Dead letters handed to `consume` again, in batches of what once came together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tips.ingest.handover import MAX_BATCH_BYTES, ConsumeClient, failed_identifiers
from tips.ingest.letters import event_of, together
from tips.state.dead_letters import DeadLetter, LetterDamaged, Stored, mark_replayed, read
from tips.state.table import Table, retrying

MAX_LETTERS = 50
"""Of a batch: each may take `consume` seconds."""
_MAX_EVENT_BYTES = MAX_BATCH_BYTES * 4 // 3
"""What a batch of `MAX_BATCH_BYTES` weighs in base64."""
REFUSED = "consume did not take it; its log says why"
GIVEN_UP = "it was given up again"
GONE = "it is gone"
MISSHAPEN = "its bytes are not what its reason says"


@dataclass
class _Batch:
    letters: dict[str, tuple[Stored, DeadLetter]] = field(default_factory=dict)
    """By identifier: what `consume` answers tells letters apart by nothing else."""
    size: int = 0

    def has_room_for(self, letter: DeadLetter, size: int) -> bool:
        if letter.identifier in self.letters or len(self.letters) >= MAX_LETTERS:
            return False
        return not self.letters or self.size + size <= _MAX_EVENT_BYTES


def replay(
    table: Table, client: ConsumeClient, chosen: Iterable[Stored], deadline_ms: float
) -> Iterator[tuple[Stored, str | None]]:
    """Yield each letter with why it stays, None when it was taken and marked.

    deadline_ms: of each call to the table. Raises `HandoverFailed` and `TableUnavailable`; then letters that were not
    yielded yet may have been taken, and replaying them again is safe.
    """
    batches: dict[str, _Batch] = {}
    for stored in chosen:
        try:
            found = retrying(table, deadline_ms, lambda bounded, _, one=stored: read(bounded, one))  # type: ignore[misc]
            if found is None:
                yield stored, GONE
                continue
            letter, _ = found
            size = len(json.dumps(event_of([letter])))
        except LetterDamaged as damage:
            yield stored, str(damage)
            continue
        except ValueError:
            yield stored, MISSHAPEN
            continue
        group = together(letter)
        if group is None:
            yield from _handed_over(table, client, _Batch({letter.identifier: (stored, letter)}), deadline_ms)
            continue
        batch = batches.setdefault(group, _Batch())
        if not batch.has_room_for(letter, size):
            yield from _handed_over(table, client, batch, deadline_ms)
            batch = batches[group] = _Batch()
        batch.letters[letter.identifier] = stored, letter
        batch.size += size
    for batch in batches.values():
        yield from _handed_over(table, client, batch, deadline_ms)


def _handed_over(
    table: Table, client: ConsumeClient, batch: _Batch, deadline_ms: float
) -> Iterator[tuple[Stored, str | None]]:
    answer = client.invoke(event_of([letter for _, letter in batch.letters.values()]))
    failed = failed_identifiers(answer, batch.letters)
    for identifier, (stored, _) in batch.letters.items():
        if identifier in failed:
            yield stored, REFUSED
        elif mark_replayed(table, stored, deadline_ms):
            yield stored, None
        else:
            yield stored, GIVEN_UP
