"""A model: prior, schema and policy configuration, what they were trained on and how they fared, in two small files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tips
from tips.bandit.registry import POLICIES
from tips.bandit.tuning import tuned
from tips.state.priors import PolicyConfiguration, PublishedModel, pack_prior, unpack_prior

if TYPE_CHECKING:
    from tips.bandit.prior import Prior

PRIOR_FILE, MODEL_FILE = "prior.bin", "model.json"
FOLDER = "model"
"""Where a run keeps the files among its artifacts."""
_FORMAT = 1
_PACKAGES = ("numpy", "polars", "pyarrow", "mlflow", "python-ulid")


@dataclass(frozen=True)
class Provenance:
    """What a model was made from.

    source: which part of the export; config: the configuration file's content; erased: whether the table was asked who
    was erased since the export, or nobody; left_out: people erased since, whose data had no part in it; until: the
    last microsecond (since 1970) of the data.
    """

    data_hash: str
    source: Literal["statistics", "decisions"]
    config: Mapping[str, Any]
    config_hash: str
    code: str
    erased: Literal["checked", "as exported"]
    left_out: int
    people: int
    observations: float
    until: int
    min_explore: float


@dataclass(frozen=True)
class Model:
    """A prior for a schema and the parameters of a policy on it.

    metrics: what it was measured to do, by name; tuning: how the parameters were chosen.
    """

    prior: Prior
    policy: str
    policy_version: str
    schema: str
    schema_hash: str
    parameters: Mapping[str, float]
    provenance: Provenance
    metrics: Mapping[str, float] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """Return the content of the two files; the same model gives the same bytes."""
        document = {
            "format": _FORMAT,
            "prior": self.prior.version,
            **{name: getattr(self, name) for name in ("policy", "policy_version", "schema", "schema_hash")},
            "names": self.prior.names,
            "parameters": dict(self.parameters),
            "provenance": asdict(self.provenance),
            "metrics": dict(self.metrics),
            "tuning": dict(self.tuning),
        }
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
        return {PRIOR_FILE: pack_prior(self.prior), MODEL_FILE: text.encode()}

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            (folder / name).write_bytes(content)

    @classmethod
    def read(cls, folder: Path) -> Model:
        """Return what `write` wrote; raises `ValueError` for anything else."""
        try:
            prior = unpack_prior((folder / PRIOR_FILE).read_bytes())
            document = json.loads((folder / MODEL_FILE).read_bytes())
            if document["format"] != _FORMAT or document["prior"] != prior.version:
                raise ValueError("the two files are not of one model, or of another format")
            names = ("policy", "policy_version", "schema", "schema_hash", "parameters", "metrics", "tuning")
            given = {name: document[name] for name in names}
            return cls(prior=prior, provenance=Provenance(**document["provenance"]), **given)
        except (OSError, LookupError, TypeError) as error:
            raise ValueError(f"no model, or a damaged one: {type(error).__name__} {error}") from error

    def published(self, name: str, number: str) -> PublishedModel:
        """Return what the functions read beside the prior. name, number: as registered."""
        configuration = PolicyConfiguration(self.policy_version, dict(self.parameters))
        return PublishedModel(name, number, self.schema_hash, {self.policy: configuration})

    def misfits(self) -> list[str]:
        """Return in words why this code cannot serve the model; nothing where it can."""
        policy = POLICIES.get(self.policy)
        if policy is None:
            return [f"its policy {self.policy!r} is not known here; known are {', '.join(POLICIES)}"]
        found = []
        if policy.version != self.policy_version:
            found.append(f"it is for version {self.policy_version} of {policy.name}, and here that is {policy.version}")
        if self.schema_hash != policy.schema.hash:
            found.append(
                f"its schema has the hash {self.schema_hash}, and {policy.name}'s schema {policy.schema.name} here has "
                f"{policy.schema.hash}: train anew"
            )
        elif self.prior.names != policy.schema.names:
            found.append("its prior has other names than its schema")
        try:
            tuned(policy, self.parameters)
        except ValueError as error:
            found.append(str(error))
        return found


@cache
def code_version() -> str:
    """Return the release with a digest of the shared code, which says more than a release in between."""
    root = Path(tips.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{tips.__version__}+{digest.hexdigest()[:12]}"


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that training's numbers depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
