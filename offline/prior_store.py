"""Versions of the population prior in the table, and which of them is in use, changed with an audit trail.

Taking a version into use, and out of it, is one transaction: the copy that policies read, on condition that it is still
the one that was read, and an entry that says who did it. Versions stay, so that going back is taking an earlier one.
A published model is a version with what else the model sets; the entries say what that was, before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ulid import ULID

from offline.command import BadInput
from tips.errors import NothingToRestore
from tips.state import keys, priors
from tips.state.configuration import id_after
from tips.state.priors import PublishedModel
from tips.state.table import retrying

if TYPE_CHECKING:
    from tips.bandit.population import Population
    from tips.bandit.prior import Prior
    from tips.state.table import Item, Table

AUDIT = f"{keys.AUDIT}#PRIOR"
"""A trail of its own: the configuration's has an entry per version of the configuration, and no other."""


_TRAIL = 1000
"""Entries that are looked at for what to go back to."""


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
    """An entry of the audit trail. before, after: versions in use, empty for none; the models whose they are, if any.

    restores: the entry that this one undid, empty where it undid none.
    """

    entry: str
    at: datetime
    actor: str
    command: str
    reason: str
    before: str
    after: str
    model_before: PublishedModel | None = None
    model_after: PublishedModel | None = None
    restores: str = ""


@dataclass(frozen=True, slots=True)
class InUse:
    """What is in use for a schema. version: of the prior, empty for none; change: the entry that says since when;
    damaged: whether it is a model's, and nobody can tell which."""

    version: str = ""
    model: PublishedModel | None = None
    change: str = ""
    damaged: bool = False

    def same_as(self, version: str, model: PublishedModel | None) -> bool:
        return (self.version, self.model) == (version, model) and not self.damaged


def store(table: Table, schema: str, population: Population, deadline_ms: float) -> None:
    """Keep a newly trained prior as a version of its own, not in use yet."""
    store_version(table, schema, StoredPrior(population.prior, population.people, population.observations), deadline_ms)


def store_version(table: Table, schema: str, stored: StoredPrior, deadline_ms: float) -> None:
    """Keep a prior as a version; one that is there already has the same content."""
    item = {
        **priors.prior_item(priors.version(schema, stored.prior.version), stored.prior),
        "people": {"N": str(stored.people)},
        "observations": {"N": repr(stored.observations)},
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
    return state(table, schema).version


def state(table: Table, schema: str) -> InUse:
    """Return what is in use."""
    item = table.get(*priors.in_use(schema))
    if item is None:
        return InUse()
    version, change = item["version"]["S"], item.get("change", {"S": ""})["S"]
    try:
        return InUse(version, priors.read_model(item), change)
    except ValueError:
        return InUse(version, None, change, damaged=True)


def use(
    table: Table,
    schema: str,
    prior: Prior | None,
    *,
    command: str,
    actor: str,
    reason: str,
    deadline_ms: float,
    model: PublishedModel | None = None,
    restores: str = "",
    only_after: str | None = None,
) -> Change | None:
    """Take a prior into use, or with None whatever is in use out of it. Returns None if that was so already.

    model: the published model that it is part of; restores: the entry that this undoes; only_after: the entry since
    which what is in use must have been so. Raises `BadInput` where it is so since another.
    """
    after = "" if prior is None else prior.version
    key = priors.in_use(schema)
    tried: list[str] = []

    def attempt(bounded: Table, ambiguous: bool) -> Change | None:
        if ambiguous:
            for item in bounded.get_all([(_trail(schema), entry_id) for entry_id in tried]):
                if item is not None:
                    return _change(item)
        before = state(bounded, schema)
        if only_after is not None and before.change != only_after:
            raise BadInput("somebody has changed what is in use meanwhile: look at it again, then say what is to be")
        if before.same_as(after, model):
            return None
        # After all that is there, whatever the clocks say: going back goes by this order.
        entry_id = id_after(next((one.entry for one in changes(bounded, schema, 1)), ""))
        tried.append(entry_id)
        entry = {
            "pk": {"S": _trail(schema)},
            "sk": {"S": entry_id},
            "at": {"S": datetime.now(UTC).isoformat(timespec="milliseconds")},
            "command": {"S": command},
            "actor": {"S": actor},
            "reason": {"S": reason},
            "before": {"S": before.version},
            "after": {"S": after},
            **({"restores": {"S": restores}} if restores else {}),
            **({"model_before": {"M": priors.model_attributes(before.model)}} if before.model else {}),
            **({"model_after": {"M": priors.model_attributes(model)}} if model else {}),
        }
        bounded.transact([_replacement(key, before, prior, model, entry_id), {"Put": {"Item": entry}}])
        return _change(entry)

    return retrying(table, deadline_ms, attempt)


def to_restore(table: Table, schema: str) -> Change:
    """Return the change that going back would undo: the last that has not been undone yet.

    Raises `NothingToRestore` if there is none.
    """
    undone: set[str] = set()
    for change in changes(table, schema, _TRAIL):
        if change.restores:
            undone.add(change.restores)
        elif change.entry not in undone:
            return change
    raise NothingToRestore(f"there is nothing earlier to go back to for {schema}")


def changes(table: Table, schema: str, limit: int) -> Sequence[Change]:
    """Return the last changes of what is in use, newest first."""
    return [_change(item) for item in table.query(_trail(schema), "0", "~", limit=limit)]


def _trail(schema: str) -> str:
    return f"{AUDIT}#{schema}"


def _replacement(
    key: tuple[str, str], before: InUse, prior: Prior | None, model: PublishedModel | None, entry_id: str
) -> dict[str, Any]:
    condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
    if before.change:
        condition = {
            "ConditionExpression": "change = :change",
            "ExpressionAttributeValues": {":change": {"S": before.change}},
        }
    elif before.version:
        condition = {
            "ConditionExpression": "version = :before AND attribute_not_exists(change)",
            "ExpressionAttributeValues": {":before": {"S": before.version}},
        }
    if prior is None:
        return {"Delete": {"Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}}, **condition}}
    further = {} if model is None else priors.model_attributes(model)
    return {"Put": {"Item": {**priors.prior_item(key, prior), "change": {"S": entry_id}, **further}, **condition}}


def _stored(item: Item) -> StoredPrior:
    try:
        return StoredPrior(priors.read_prior(item), int(item["people"]["N"]), float(item["observations"]["N"]))
    except (ValueError, KeyError) as error:
        raise BadInput(f"the prior {item['sk']['S']} cannot be read: {error}") from None


def _change(item: Item) -> Change:
    before, after = (priors.read_model(item.get(name, {"M": {}})["M"]) for name in ("model_before", "model_after"))
    return Change(
        entry=item["sk"]["S"],
        at=datetime.fromisoformat(item["at"]["S"]),
        **{name: item[name]["S"] for name in ("actor", "command", "reason", "before", "after")},
        model_before=before,
        model_after=after,
        restores=item.get("restores", {"S": ""})["S"],
    )
