"""`make lab`: from simulated people to a policy that answers with what was learned of them, by the commands of `tips`.

Everything is what an operator would do with a table in the cloud, one step after the other; the table is moto's on
loopback, and the people are simulated. What the steps leave is in `lab/`, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from devstack.events import REGION
from devstack.service import HttpService, ServiceError
from devstack.stack import Stack
from devstack.template import ROOT
from tips.prompts.registry import released

_BEFORE, _AFTER = "squarecb", "igw-ucb"
"""What answers while the history is made, and its shadow, which is to take its place."""
_NEVER_SEC = 1e9
_CACHE_SEC = 1.0
_TASKS: list[dict[str, Any]] = [
    {
        "id": "tax-return",
        "kind": "task",
        "source": "todoist",
        "features": {"is_overdue": True, "task_age_days": 21, "priority": 4},
    },
    {
        "id": "call-mum",
        "kind": "task",
        "source": "todoist",
        "features": {"is_overdue": False, "task_age_days": 1, "priority": 3},
    },
    {
        "id": "tidy-desk",
        "kind": "task",
        "source": "todoist",
        "features": {"is_overdue": False, "task_age_days": 12, "priority": 1},
    },
]
_NEWCOMER = {
    "context": {"hour_of_day": 9, "day_of_week": 1},
    "candidates": [
        *_TASKS,
        {"id": "breathe", "kind": "advice", "source": "advice", "features": {}},
        {"id": "week-so-far", "kind": "insight", "source": "llm", "prompt_version": "v1", "features": {}},
    ],
    "explain": True,
}
"""What somebody is asked about whom nobody knows yet."""


class StepFailed(Exception):
    """A command of the lab did not end well; the message says which."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated: people and tips each of both parts of the history, and of each run that compares policies.

    margin: of the gate; what so few decisions can show is less than what an operator would ask for.
    """

    people: int = 88
    tips: int = 30
    compared_people: int = 22
    compared_tips: int = 20
    margin: float = 0.15


SMALL = Size(people=22, tips=20, compared_people=11, compared_tips=8, margin=0.8)
"""To see that every step works. So little shows no more than that nothing is much worse."""


class Lab:
    """The steps, one after the other, against one table. folder: where they leave what they make."""

    def __init__(self, console: Console, stack: Stack, folder: Path, size: Size) -> None:
        self._console, self._stack, self._folder, self._size = console, stack, folder, size
        self._started = time.monotonic()
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "layers" / "shared"), str(ROOT))),
            "TABLE_NAME": stack.table_name,
            "DYNAMODB_ENDPOINT": stack.table_endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "CONFIG_CACHE_SEC": str(_CACHE_SEC),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        }

    def run(self) -> None:
        """Raises `StepFailed`."""
        logs, simulated = self._folder / "logs", self._folder / "simulation"
        evaluation = self._folder / "evaluation.json"
        self._step(f"{_BEFORE} answers; {_AFTER} runs beside it as a shadow")
        why = "the lab begins with another policy"
        self._tips("config", "set", f"active_policy={_BEFORE}", f"shadows={_AFTER}", "--force", "--reason", why)
        self._step("Simulate: six weeks of people are served by it, through the real handlers")
        self._simulate(self._folder / "history", [_BEFORE], self._size.people, self._size.tips, seeds=2, keep=True)
        self._step("Generate: tips for a few of them, under each prompt version")
        self._generate()
        self._step("Simulate: both policies, from nothing, on other people, three seeds each")
        both = [_BEFORE, _AFTER]
        self._simulate(simulated, both, self._size.compared_people, self._size.compared_tips, seeds=3, keep=False)
        self._step("Export: decisions joined with their reactions, as Parquet")
        self._tips("export", "--to", str(logs))
        self._tips("skew", "--logs", str(logs))
        self._step("Evaluate: what the shadow would have brought")
        self._tips("evaluate", "--policy", _AFTER, "--logs", str(logs), "--out", str(evaluation))
        self._step("Train and register: the population prior, its strength, the policy's parameters")
        self._tips("train", "--logs", str(logs), "--register", "--reason", "from the lab's history")
        self._step("Model cards, on these logs")
        cards = ["cards", "build", "--logs", str(logs), "--evaluation", str(evaluation)]
        self._tips(*cards, "--of", "simulated people", "--to", str(self._folder / "cards"))
        self._step(f"Gate: may {_AFTER} answer?")
        newcomer = self._scored("before-the-prior", policy=_AFTER)
        margin = f"{self._size.margin:g}"
        judged = ["promote", _AFTER, "--logs", str(logs), "--simulation", str(simulated), "--margin", margin]
        few = [] if self._size != SMALL else ["--min-shadow", "200", "--min-effective-sample", "50"]
        self._tips(*judged, *few, "--reason", "better in the lab")
        self._step("Publish: the trained model is the champion, and the functions read it")
        self._tips("models", "alias", _AFTER, "1", "champion", "--reason", "passed the gate")
        self._tips("publish", "--model", _AFTER, "--reason", "passed the gate")
        self._step("Score: somebody nobody knows, before and after")
        time.sleep(_CACHE_SEC + 0.5)
        self._told(newcomer, self._scored("after-the-prior"))
        self._step("Look back: report and monitoring")
        self._tips("export", "--to", str(logs))
        self._tips("report", "--logs", str(logs), "--out", str(self._folder / "report.html"))
        monitored = ["monitor", "--logs", str(logs), "--out", str(self._folder / "monitor.html")]
        # People of the simulation change, and so does what is seen: an alarm is an answer here, not a failure.
        self._tips(*monitored, codes=(0, 1, 3))

    def _simulate(self, out: Path, policies: Sequence[str], people: int, tips: int, *, seeds: int, keep: bool) -> None:
        size = ["--users", str(people), "--rounds", str(tips), "--seeds", str(seeds)]
        place = ["--endpoint", self._stack.table_endpoint, "--table", self._stack.table_name] if keep else []
        self._tips("simulate", "--policies", ",".join(policies), *size, *place, "--out", str(out))

    def _generate(self) -> None:
        with HttpService(self._stack.score_url, self._stack.generate_url, self._stack.invoke_url) as service:
            for version in (prompt.version for prompt in released()):
                tasks = [{"id": one["id"], "content": one["id"], **one["features"]} for one in _TASKS]
                asked = {"user_id": f"reader-of-{version}", "context": {"tasks": tasks}, "prompt_version": version}
                written = service.generate(asked)["candidates"]
                self._console.print(f"  {version}: {written[0]['content']}", markup=False)

    def _step(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/] [dim]({time.monotonic() - self._started:.0f} s)[/]")

    def _tips(self, *arguments: str, codes: Sequence[int] = (0,)) -> None:
        """Run a command as somebody at a terminal would; its progress and answers go where ours go."""
        self._console.print(f"[dim]$ tips {' '.join(_quoted(one) for one in arguments)}[/]", highlight=False)
        command = [sys.executable, "-P", "-m", "offline.cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, check=False)
        if done.returncode not in codes:
            raise StepFailed(f"`tips {arguments[0]}` ended with exit code {done.returncode}")

    def _scored(self, user_id: str, policy: str | None = None) -> Mapping[str, Any]:
        named = {} if policy is None else {"policy": policy}
        with HttpService(self._stack.score_url, self._stack.generate_url, self._stack.invoke_url) as service:
            answer = service.score({**_NEWCOMER, **named, "user_id": user_id})
            seen = httpx.get(
                f"{self._stack.score_url}/decisions/{answer['decision_id']}",
                params={"user_id": user_id},
                trust_env=False,
            )
        if seen.status_code != 200:
            raise StepFailed(f"GET /decisions answered {seen.status_code}: {seen.text}")
        return {**answer, "prior": seen.json()["evaluations"][answer["policy"]]["prior"]}

    def _told(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Print how the newcomer is served; raises `StepFailed` unless the published prior had its part in it."""
        if before["prior"] is not None or after["prior"] is None or after["policy"] != _AFTER:
            raise StepFailed(f"{after['policy']} answers with prior {after['prior']}, before it was {before['prior']}")
        expected = {one["id"]: one for one in before["ranking"]}
        for one in after["ranking"]:
            was = expected[one["id"]]
            figures = f"{was['score']:+.2f} -> {one['score']:+.2f}   {was['propensity']:.3f} -> {one['propensity']:.3f}"
            self._console.print(f"  {one['id']:<12} score {figures} of being shown", highlight=False)
        self._console.print(f"  prior {after['prior']}: {after['explanation']['sentence']}", highlight=False)


def _quoted(argument: str) -> str:
    text = str(Path(argument).relative_to(ROOT)) if argument.startswith(str(ROOT)) else argument
    return f'"{text}"' if " " in text else text


@contextmanager
def _stack() -> Iterator[Stack]:
    environment = {"CONFIG_CACHE_SEC": str(_CACHE_SEC)}
    with (
        tempfile.TemporaryFile("w") as log,
        # Time is simulated in the simulation's own processes; by the clock here every reward wait is long over.
        Stack(environment=environment, log=log, ttl_interval=_NEVER_SEC) as stack,
    ):
        yield stack


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devstack.lab", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="few people, to see that every step works")
    parser.add_argument("--into", type=Path, default=ROOT / "lab", help="folder for what is made; it is emptied")
    options = parser.parse_args(arguments)
    folder: Path = options.into.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "lab.json").exists():
        parser.error(f"{folder} holds something else: name an empty folder, or a new one")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "lab.json").write_text(json.dumps({"made_by": "make lab"}) + "\n", encoding="utf-8")
    console = Console(highlight=False, soft_wrap=True)
    try:
        with _stack() as stack:
            lab = Lab(console, stack, folder, SMALL if options.small else Size())
            lab.run()
    except (StepFailed, ServiceError, httpx.HTTPError) as error:
        console.print(f"The lab failed: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    console.print(f"\nTo look at, in {folder}:")
    for what in ("report.html", "simulation/report.html", "history/report.html", "monitor.html", "cards/igw-ucb.html"):
        console.print(f"  {folder / what}")
    console.print(f"  .venv-lab/bin/mlflow ui --backend-store-uri sqlite:///{folder / 'mlflow.db'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
