"""What a record of the table's own stream says: which decision's reward wait is over."""

from __future__ import annotations

from dataclasses import dataclass

from tips.errors import BadRecord
from tips.state import keys

_USER_PREFIX = keys.user("")
_TTL_SERVICE = "dynamodb.amazonaws.com"


@dataclass(frozen=True, slots=True)
class EndedWait:
    """A decision that had its time for a reaction."""

    user_id: str
    decision_id: str


def ended_wait(record: object) -> EndedWait | None:
    """Return the wait that a stream record ends; None when it is of anything but a marker that TTL removed.

    The trigger's filter lets nothing else through, but what a person or a function deletes must teach nothing even if
    the filter were wrong. Raises `BadRecord` when TTL removed an item whose key is none of ours.
    """
    match record:
        case {"eventName": "REMOVE", "userIdentity": {"type": "Service", "principalId": principal}}:
            if principal != _TTL_SERVICE:
                return None
        case _:
            return None
    match record:
        case {"dynamodb": {"Keys": {"pk": {"S": str(pk)}, "sk": {"S": str(sk)}}}}:
            pass
        case _:
            raise BadRecord("dynamodb.Keys: are not those of the table")
    if not sk.startswith(keys.WAIT_PREFIX):
        return None
    user_id, decision_id = pk.removeprefix(_USER_PREFIX), sk.removeprefix(keys.WAIT_PREFIX)
    if not user_id or keys.user(user_id) != pk:
        raise BadRecord("dynamodb.Keys.pk: names no user")
    try:
        keys.decided_at_us(decision_id)
    except ValueError:
        raise BadRecord("dynamodb.Keys.sk: names no decision") from None
    return EndedWait(user_id, decision_id)
