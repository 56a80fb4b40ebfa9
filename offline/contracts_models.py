"""Which models are contracts: those of every event, and the outermost ones of the HTTP bodies."""

from __future__ import annotations

from functools import cache
from types import ModuleType

from pydantic import BaseModel

from tips.contracts import generation, refusals, reward, scoring, shown
from tips.contracts.common import Answer, Body

_MODULES: tuple[ModuleType, ...] = (scoring, reward, shown, generation, refusals)


@cache
def http_models() -> dict[str, type[Body] | type[Answer]]:
    """Return the bodies of requests and answers by name, without those that are only parts of others."""
    models = {
        name: model
        for module in _MODULES
        for name, model in vars(module).items()
        if isinstance(model, type)
        and issubclass(model, Body | Answer)
        and model not in (Body, Answer)
        and model.__module__ == module.__name__
    }
    inner = {name for model in models.values() for name in _parts(model)}
    return {name: model for name, model in models.items() if name not in inner}


def _parts(model: type[BaseModel]) -> set[str]:
    """Return the names of the models within a model."""
    return set(model.model_json_schema().get("$defs", {})) - {model.__name__}
