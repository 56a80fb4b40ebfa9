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

_FORMAT = 1
_LENGTH = struct.Struct("<I")


def in_use(schema: str) -> tuple[str, str]:
    """Key of the prior that policies on the schema use."""
    return keys.PRIORS, f"current#{schema}"


def version(schema: str, name: str) -> tuple[str, str]:
    return keys.PRIORS, f"version#{schema}#{name}"


def pack_prior(prior: Prior) -> bytes:
    """JSON header and float64 arrays, compressed."""
    header = {"format": _FORMAT, "names": prior.names, "noise": prior.noise, "version": prior.version}
    text = json.dumps(header).encode()
    arrays = [prior.share, prior.strength.ravel(), prior.mean.ravel()]
    return zlib.compress(_LENGTH.pack(len(text)) + text + pack_floats(np.concatenate(arrays)))


def unpack_prior(data: bytes) -> Prior:
    """Inverse of `pack_prior`; raises `ValueError` on bytes that are not of its making."""
    try:
        plain = zlib.decompress(data)
        (length,) = _LENGTH.unpack_from(plain)
        header = json.loads(plain[_LENGTH.size : _LENGTH.size + length])
        if header["format"] != _FORMAT:
            raise ValueError("unknown format")
        floats = unpack_floats(plain[_LENGTH.size + length :])
        names = tuple(header["names"])
        components = len(floats) // (1 + 2 * len(names))
        share, strength, mean = np.split(floats, [components, components * (1 + len(names))])
        shape = (components, len(names))
        return Prior(
            names, share, strength.reshape(shape), mean.reshape(shape), float(header["noise"]), str(header["version"])
        )
    except (zlib.error, struct.error, KeyError, TypeError, ValueError) as error:
        raise ValueError("the prior is damaged") from error


def prior_item(key: tuple[str, str], prior: Prior) -> Item:
    return {
        "pk": {"S": key[0]},
        "sk": {"S": key[1]},
        "version": {"S": prior.version},
        "data": {"B": pack_prior(prior)},
    }


def read_prior(item: Item) -> Prior:
    """Raises `ValueError`."""
    try:
        return unpack_prior(item["data"]["B"])
    except (KeyError, TypeError) as error:
        raise ValueError("the prior is damaged") from error
