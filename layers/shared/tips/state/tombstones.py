"""What is left of an erased person: a hash, for as long as late events of theirs may arrive."""

from __future__ import annotations

import time
from typing import Any

from tips.state import keys


def not_erased(user_id: str) -> dict[str, Any]:
    """Return the transaction's part that holds only as long as the person has not been erased."""
    pk, sk = keys.tombstone(user_id)
    return {
        "ConditionCheck": {
            "Key": {"pk": {"S": pk}, "sk": {"S": sk}},
            # TTL removes an item days after it has expired.
            "ConditionExpression": "attribute_not_exists(pk) OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": {":now": {"N": str(int(time.time()))}},
        }
    }
