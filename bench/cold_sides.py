"""What is started cold: each function as it is built, beside its floor and beside a build without any trouble taken."""

from __future__ import annotations

import compileall
import json
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any, cast

from bench.cold_naive import build_naive
from bench.consume_case import table_answers as people_answers
from bench.consume_people import batch, people
from bench.gateway_case import PROMPT, TIPS, TITLES
from bench.instant_dynamodb import Exchange, InstantDynamoDB, Rule
from bench.instant_model import InstantModel
from bench.score_case import BUDGET_MS, TABLE, USER, arguments, score_request, table_answers
from devstack.emulator import BUILD, Emulated, children
from devstack.events import url_event
from devstack.template import Template

HERE = Path(__file__).resolve().parent
TIMEOUT_SEC = 60.0
MEMORY_MB = 4096
"""No side is to be ended for its time or its memory: others hold those."""
OURS = ("app", "tips", "given", "cold_floor")


@dataclass(frozen=True)
class Start:
    """From sending the first event to a new environment until its answer. wall, processor: microseconds."""

    wall: float
    processor: float
    answer: Any


@dataclass(frozen=True)
class Side:
    """Where an environment is started, and what it is sent."""

    environments: Emulated
    event: Mapping[str, Any]

    def start(self) -> Start:
        """Start an environment, send it its first event and end it. Raises `RuntimeError` when the answer is an error.

        The emulator is up before the clock runs, and starts the function's process when the event comes.
        """
        payload = json.dumps(self.event).encode()
        instance = self.environments.start()
        try:
            began = time.perf_counter_ns()
            ok, answer = instance.run("", payload)
            took = time.perf_counter_ns() - began
            (emulator,) = children(cast(Any, instance).process.pid)
            used = sum(map(processor_ns, children(emulator)))
        finally:
            instance.kill()
        said = json.loads(answer)
        if not ok or said.get("statusCode", 200) != 200 or said.get("batchItemFailures"):
            raise RuntimeError(f"not the answer to measure: {answer[:500].decode()}")
        return Start(took / 1000, used / 1000, said)


def processor_ns(pid: int) -> int:
    """Return the processor time that a process has used, with all its threads."""
    return time.clock_gettime_ns(~pid << 3 | 2)  # the clock that clock_getcpuclockid(3) names


@dataclass(frozen=True)
class Function:
    """One function, what it is first asked, and how the table answers.

    completion: what it asks a model, as LiteLLM takes it. bare: whether there is a bare application to compare with.
    get: paths whose first answer is measured, too.
    """

    name: str
    event: Mapping[str, Any]
    rules: Sequence[Rule]
    completion: Mapping[str, Any] | None = None
    bare: bool = False
    get: tuple[str, ...] = ()


def functions() -> list[Function]:
    asked = {"tasks": [{"id": str(number), "content": title} for number, title in enumerate(TITLES)]}
    completion = {
        "model": "openai/tip-generator",
        "messages": PROMPT.render({}, 3),
        "temperature": PROMPT.parameters.temperature,
        "max_tokens": PROMPT.parameters.max_tokens,
        "timeout": 5.0,
        "max_retries": 0,
    }
    nothing_known = [
        Rule("BatchGetItem", json.dumps({"Responses": {TABLE: []}, "UnprocessedKeys": {}})),
        Rule("Query", json.dumps({"Items": [], "Count": 0, "ScannedCount": 0})),
        *(Rule(operation, "{}") for operation in ("GetItem", "PutItem", "UpdateItem", "TransactWriteItems")),
    ]
    return [
        Function("score", url_event("POST", "/score", score_request()), table_answers("igw-ucb", ()), bare=True),
        Function("consume", batch(people(1)[:1]), people_answers((1,))),
        Function(
            "generate",
            url_event("POST", "/generate", {"user_id": USER, "context": asked, "n": 3}),
            nothing_known,
            completion,
            get=("/health", "/prompts"),
        ),
    ]


@dataclass(frozen=True)
class Sides:
    """What is compared of one function. modules: imported by it and its floor; calls: theirs to the table, by kind."""

    sides: Mapping[str, Side]
    modules: int
    calls: Mapping[str, int]


@contextmanager
def sides(function: Function, build: Path = BUILD, *, naive: bool = True) -> Iterator[Sides]:
    """Yield what is to be started, each tried once. Raises `RuntimeError` when the floor does not do what we do."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cold-")))
        beside, names = scratch / "beside", scratch / "names"
        beside.mkdir()
        table = stack.enter_context(InstantDynamoDB(function.rules))
        model = stack.enter_context(InstantModel(json.dumps(TIPS)))
        log = stack.enter_context((scratch / "log").open("wb"))
        definition = Template().functions()[f"{function.name.title()}Function"]
        variables = {**definition.environment, **_addresses(table, model)}

        def side(module: str, event: Mapping[str, Any] = function.event, *, built: Path = build, **own: str) -> Side:
            handler = replace(
                definition, handler=f"{module}.handler", timeout=TIMEOUT_SEC, memory_mb=MEMORY_MB, environment={}
            )
            # The folder is there for all: what is searched is the same, and the template's variables are `variables`.
            chosen = {name: value for name, value in (variables | own).items() if value != "unset"}
            emulated = Emulated(handler, chosen, build=built, path=(beside,), log=log)
            stack.callback(emulated.close)
            return Side(emulated, event)

        def recorded(module: str) -> tuple[list[str], list[Exchange], Any]:
            table.exchanges()
            start = side("cold_record", COLD_MODULE=module, COLD_NAMES=str(names)).start()
            imported = [one for one in names.read_text().split() if one.partition(".")[0] not in OURS]
            return imported, table.exchanges(), start.answer

        for name in ("cold_record", "cold_floor", "cold_bare"):
            shutil.copy(HERE / f"{name}.py", beside)
        modules, exchanges, answer = recorded("app")
        calls = [(_method(one.operation), arguments(json.loads(one.body))) for one in exchanges]
        given = {"MODULES": tuple(modules), "CALLS": calls, "COMPLETION": function.completion, "ANSWER": answer}
        (beside / "given.py").write_text("".join(f"{name} = {value!r}\n" for name, value in given.items()))
        # As builds have it.
        compileall.compile_dir(beside, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
        imported, made, _ = recorded("cold_floor")
        if other := set(modules) ^ set(imported):
            raise RuntimeError(f"not the same imports for the floor: {sorted(other)}")
        if _kinds(made) != _kinds(exchanges):
            raise RuntimeError(f"not the same calls for the floor: {_kinds(made)}, not {_kinds(exchanges)}")

        compared = {"ours": side("app"), "floor": side("cold_floor"), "spared": side("cold_floor", COLD_FLOOR="spared")}
        if function.bare:
            compared["bare"] = side("cold_bare")
        for path in function.get:
            compared[path] = side("app", url_event("GET", path))
        if naive:
            build_naive(definition, scratch / "naive")
            compared["naive"] = side("app", built=scratch / "naive", OPENBLAS_NUM_THREADS="unset")
        yield Sides(compared, len(modules), _kinds(exchanges))


def _kinds(exchanges: Sequence[Exchange]) -> dict[str, int]:
    return dict(Counter(one.operation for one in exchanges))


def _method(operation: str) -> str:
    """Return what botocore calls an operation: BatchGetItem is batch_get_item."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def _addresses(table: InstantDynamoDB, model: InstantModel) -> dict[str, str]:
    budgets = ("SCORE_READ_BUDGET_MS", "SCORE_WRITE_BUDGET_MS", "TABLE_DEADLINE_MS", "GENERATE_TABLE_BUDGET_MS")
    return {
        "TABLE_NAME": TABLE,
        "DYNAMODB_ENDPOINT": table.endpoint,
        "LITELLM_URL": model.url,
        **dict.fromkeys(budgets, BUDGET_MS),
    }
