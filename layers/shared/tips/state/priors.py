"""Population priors in the table: versions that stay, and per schema the one in use.

The one in use may come from a published model. Its item then carries the whole model: prior, hash of the schema that it
is for, the model's name and version, and the parameters of policies.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tips.bandit.prior import Prior
from tips.state import keys
from tips.state.floats import pack_floats, unpack_floats

if TYPE_CHECKING:
    from tips.state.table import Item

_FORMAT = 1
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class PolicyConfiguration:
    """How a model sets a policy. version: of the policy's code that the parameters are for."""

    version: str
    parameters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """What a model in use is beside its prior. name, version: as registered; policies: by name."""

    name: str
    version: str
    schema_hash: str
    policies: Mapping[str, PolicyConfiguration] = field(default_factory=dict)


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


def model_attributes(model: PublishedModel) -> Item:
    """Return what the item in use has of a model beside its prior. Parameters are JSON text: floats come back exact."""
    policies = {name: [one.version, dict(one.parameters)] for name, one in model.policies.items()}
    return {
        "schema_hash": {"S": model.schema_hash},
        "model": {"S": json.dumps([model.name, model.version])},
        "policies": {"S": json.dumps(policies, sort_keys=True)},
    }


def read_model(item: Item) -> PublishedModel | None:
    """Return the model whose prior is in use, None for a prior that is no model's; raises `ValueError`."""
    if "model" not in item:
        return None
    try:
        name, version = json.loads(item["model"]["S"])
        policies = {
            str(policy): PolicyConfiguration(str(of), {str(key): value for key, value in parameters.items()})
            for policy, (of, parameters) in json.loads(item["policies"]["S"]).items()
        }
        return PublishedModel(str(name), str(version), item["schema_hash"]["S"], policies)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError("the published model is damaged") from error
