"""Population priors in the table: versions that stay, and per schema the one in use."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.prior import Prior
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats

if TYPE_CHECKING:
    from tips.state.table import Item

_LENGTH = struct.Struct("<I")
MAX_BYTES = 350_000
"""DynamoDB's items end at 400 KB."""


def in_use(schema: str) -> tuple[str, str]:
    """Key of the prior that policies on the schema use."""
    return keys.PRIORS, f"current#{schema}"


def version(schema: str, name: str) -> tuple[str, str]:
    return keys.PRIORS, f"version#{schema}#{name}"


def pack_prior(prior: Prior) -> bytes:
    """JSON header and float64 arrays, compressed. Of each component's symmetric xx the upper triangle is kept."""
    d = len(prior.names)
    header = {
        "names": prior.names,
        "components": len(prior.share),
        "noise": prior.noise,
        "version": prior.version,
    }
    text = json.dumps(header).encode()
    upper = np.triu_indices(d)
    arrays = [prior.share, prior.strength, prior.count, *(xx[upper] for xx in prior.xx), prior.rx.ravel()]
    return zlib.compress(_LENGTH.pack(len(text)) + text + pack_floats(np.concatenate(arrays)))


def unpack_prior(data: bytes) -> Prior:
    """Inverse of `pack_prior`; raises `ValueError` on bytes that are not of its making."""
    try:
        plain = zlib.decompress(data)
        (length,) = _LENGTH.unpack_from(plain)
        header = json.loads(plain[_LENGTH.size : _LENGTH.size + length])
        floats = unpack_floats(plain[_LENGTH.size + length :])
        names, count = tuple(header["names"]), int(header["components"])
        d = len(names)
        triangle = d * (d + 1) // 2
        share, strength, observations, rest = np.split(floats, [count, 2 * count, 3 * count])
        upper, rx = np.split(rest, [count * triangle])
        xx = np.zeros((count, d, d))
        xx[:, *np.triu_indices(d)] = upper.reshape(count, triangle)
        xx = xx + np.triu(xx, 1).swapaxes(1, 2)
        if not np.isfinite(floats).all():
            raise ValueError("not finite")
        return Prior(
            names, share, strength, observations, xx, rx.reshape(count, d), float(header["noise"]), header["version"]
        )
    except (zlib.error, struct.error, KeyError, TypeError, ValueError) as error:
        raise ValueError("the prior is damaged") from error


def prior_item(key: tuple[str, str], prior: Prior) -> Item:
    """Return the item; raises `ValueError` when the prior is too large for one."""
    data = pack_prior(prior)
    if len(data) > MAX_BYTES:
        raise ValueError("the prior has too many components for one item")
    return {
        "pk": {"S": key[0]},
        "sk": {"S": key[1]},
        "version": {"S": prior.version},
        "data": {"B": data},
    }


def read_prior(item: Item) -> Prior:
    """Raises `ValueError`."""
    try:
        return unpack_prior(item["data"]["B"])
    except (KeyError, TypeError) as error:
        raise ValueError("the prior is damaged") from error
