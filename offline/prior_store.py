"""Versions of the population prior in the table, and which of them is in use, changed with an audit trail.

Taking a version into use, and out of it, is one transaction: the copy that policies read, on condition that it is still
the one that was read, and an entry that says who did it. Versions stay, so that going back is taking an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ulid import ULID

from offline.command import BadInput
from tips.state import keys, priors
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.bandit.population import Population
    from tips.bandit.prior import Prior
    from tips.state.table import Item, Table

AUDIT = f"{keys.AUDIT}#PRIOR"
"""A trail of its own: the configuration's has an entry per version of the configuration, and no other."""


@dataclass(frozen=True, slots=True)
class StoredPrior:
    """A version. people, observations: what it was trained on."""

    prior: Prior
    people: int
    observations: float

    @property
    def trained_at(self) -> datetime:
        return ULID.from_str(self.prior.version).datetime


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the audit trail. before, after: versions in use, empty for none."""

    at: datetime
    actor: str
    command: str
    reason: str
    before: str
    after: str


def store(table: Table, schema: str, population: Population, deadline_ms: float) -> None:
    """Keep a newly trained prior as a version of its own, not in use yet."""
    item = {
        **priors.prior_item(priors.version(schema, population.prior.version), population.prior),
        "people": {"N": str(population.people)},
        "observations": {"N": repr(population.observations)},
    }
    retrying(table, deadline_ms, lambda bounded, _: bounded.put(item))


def versions(table: Table, schema: str, limit: int) -> list[StoredPrior]:
    """Return the last versions, newest first."""
    pk, first = priors.version(schema, "")
    return [_stored(item) for item in table.query(pk, first, f"{first}~", limit=limit)]


def version_named(table: Table, schema: str, name: str) -> StoredPrior:
    """Return a version; raises `BadInput` if there is none of that name."""
    item = table.get(*priors.version(schema, name))
    if item is None:
        raise BadInput(f"there is no prior {name!r} for {schema}: see `tips prior list`")
    return _stored(item)


def in_use(table: Table, schema: str) -> str:
    """Return the version in use, empty for none."""
    item = table.get(*priors.in_use(schema))
    return "" if item is None else item["version"]["S"]


def use(
    table: Table, schema: str, prior: Prior | None, *, command: str, actor: str, reason: str, deadline_ms: float
) -> Change | None:
    """Take a prior into use, or with None whatever is in use out of it. Returns None if that was so already."""
    after = "" if prior is None else prior.version
    key = priors.in_use(schema)
    entry_id = str(ULID())

    def attempt(bounded: Table, ambiguous: bool) -> Change | None:
        if ambiguous and (item := bounded.get(_trail(schema), entry_id)) is not None:
            return _change(item)
        before = in_use(bounded, schema)
        if before == after:
            return None
        entry = {
            "pk": {"S": _trail(schema)},
            "sk": {"S": entry_id},
            "at": {"S": datetime.now(UTC).isoformat(timespec="milliseconds")},
            "command": {"S": command},
            "actor": {"S": actor},
            "reason": {"S": reason},
            "before": {"S": before},
            "after": {"S": after},
        }
        bounded.transact([_replacement(key, before, prior), {"Put": {"Item": entry}}])
        return _change(entry)

    return retrying(table, deadline_ms, attempt)


def changes(table: Table, schema: str, limit: int) -> Sequence[Change]:
    """Return the last changes of what is in use, newest first."""
    return [_change(item) for item in table.query(_trail(schema), "0", "~", limit=limit)]


def _trail(schema: str) -> str:
    return f"{AUDIT}#{schema}"


def _replacement(key: tuple[str, str], before: str, prior: Prior | None) -> dict[str, Any]:
    condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
    if before:
        condition = {
            "ConditionExpression": "version = :before",
            "ExpressionAttributeValues": {":before": {"S": before}},
        }
    if prior is None:
        return {"Delete": {"Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}}, **condition}}
    return {"Put": {"Item": priors.prior_item(key, prior), **condition}}


def _stored(item: Item) -> StoredPrior:
    try:
        return StoredPrior(priors.read_prior(item), int(item["people"]["N"]), float(item["observations"]["N"]))
    except (ValueError, KeyError) as error:
        raise BadInput(f"the prior {item['sk']['S']} cannot be read: {error}") from None


def _change(item: Item) -> Change:
    return Change(
        datetime.fromisoformat(item["at"]["S"]),
        *(item[name]["S"] for name in ("actor", "command", "reason", "before", "after")),
    )
