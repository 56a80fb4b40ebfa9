"""What README and docs say is true: their curl commands are run, their answers compared, their targets exist."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from bench import __main__ as everything
from devstack.nats import NatsServer, nats_server_version
from devstack.stack import Stack
from devstack.template import Template
from offline.pipelines.profiles_commands import AUDIT as PROFILES_AUDIT
from offline.prior_store import AUDIT
from tests.conftest import LocalTable
from tips.bandit.registry import POLICIES
from tips.features.crossed_v3 import CROSSED_V3
from tips.state import keys, priors

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_EXAMPLE = re.compile(r"```sh\n(curl .*?)```\s+```json\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str]]:
    return [found for page in PAGES for found in _EXAMPLE.findall(page.read_text())]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def shape(value: Any) -> Any:
    """Types and keys, and what every run shares; ids, times and draws differ."""
    if isinstance(value, dict):
        same = {"policy", "schema_hash", "policy_version", "degraded", "logged"}
        return {key: item if key in same else shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.thorough
@pytest.mark.parametrize(("command", "answer"), examples(), ids=range(len(examples())))
def test_a_curl_answers_as_printed(stack: Stack, command: str, answer: str) -> None:
    for port, url in ((8001, stack.score_url), (8002, stack.generate_url), (3001, stack.invoke_url)):
        command = command.replace(f"http://127.0.0.1:{port}", url)
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)
    if "versions" in printed:  # the page need not know of prompt versions that came later
        printed["versions"] = [one for one in printed["versions"] if f'"{one["version"]}"' in answer]
    assert shape(printed) == shape(json.loads(answer))


def test_a_decision_is_retaken_as_engine_says(stack: Stack) -> None:
    (command,) = re.findall(r"```sh\n(curl [^`]*tips retake -\n)```", (ROOT / "docs" / "engine.md").read_text())
    body = {"user_id": "ann", "candidates": [{"id": "a"}, {"id": "b"}]}
    decision = httpx.post(f"{stack.score_url}/score", json=body, trust_env=False).json()
    command = command.replace("http://127.0.0.1:8001", stack.score_url)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "DECISION": decision["decision_id"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the same" in done.stdout


def test_engine_lists_every_component_with_its_definition() -> None:
    page = (ROOT / "docs" / "engine.md").read_text()
    for encoder in CROSSED_V3.encoders:
        assert f"| `{encoder.name}` | {encoder.definition} |" in page
    assert all(f"`{name}`" in page for name in POLICIES)


def test_readme_quotes_the_measurements_as_they_were_taken() -> None:
    readme = (ROOT / "README.md").read_text()
    measured = readme[readme.index("## Measured") : readme.index("## Map")]
    results = (ROOT / "bench" / "results.md").read_text().splitlines()
    rows = [line for line in measured.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert set(rows) <= set(results)
    assert everything.markdown(json.loads((ROOT / "bench" / "results.json").read_text())).splitlines() == results


def test_there_are_examples() -> None:
    assert len(examples()) == 4


_SESSION = re.compile(r"```sh\n(.*?)```(?:\s+```text\n(.*?)```)?", re.DOTALL)
_END_OF_BLOCK = "-- end of block --"


def of_no_time(text: str) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "(time)", text).splitlines()]


@pytest.mark.thorough
def test_the_command_line_prints_what_operating_shows(table: LocalTable) -> None:
    """Its blocks are one session, from the first on a fresh table to the last."""
    blocks = _SESSION.findall((ROOT / "docs" / "operating.md").read_text())
    assert len(blocks) >= 6
    script = "set -e\n" + "".join(f"{commands}echo '{_END_OF_BLOCK}'\n" for commands, _ in blocks)
    script = script.replace("http://127.0.0.1:8000", table.endpoint).replace(
        "TABLE_NAME=tips", f"TABLE_NAME={table.name}"
    )
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (commands, shown), printed in zip(blocks, done.stdout.split(f"{_END_OF_BLOCK}\n"), strict=False):
        assert of_no_time(printed) == of_no_time(shown), commands


@pytest.mark.thorough
def test_events_are_replayed_as_their_page_says(stack: Stack, tmp_path: Path) -> None:
    with NatsServer() as nats_server:
        print("nats-server", nats_server_version(nats_server.binary))
        asyncio.run(_make_signals(nats_server.url))
        _session_prints("events.md", {
            "http://127.0.0.1:3001": stack.invoke_url,
            "http://127.0.0.1:8000": stack.table_endpoint,
            "nats://127.0.0.1:4222": nats_server.url,
        }, tmp_path)  # fmt: skip


def test_contracts_are_checked_as_their_page_says(tmp_path: Path) -> None:
    _session_prints("contracts/README.md", {}, tmp_path)


async def _make_signals(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name="signals", subjects=["signals.>"])
    await client.close()


def _session_prints(page: str, addresses: dict[str, str], folder: Path) -> None:
    """Run a page's blocks as one session in a folder that looks like this one; each must print what the page shows."""
    for name in (".venv", "events", "tests"):
        (folder / name).symlink_to(ROOT / name)
    blocks = _SESSION.findall((ROOT / "docs" / page).read_text())
    script = "set -e\n" + "".join(f"{commands}echo '{_END_OF_BLOCK}'\n" for commands, _ in blocks)
    for there, here in addresses.items():
        assert there in script
        script = script.replace(there, here)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (commands, shown), printed in zip(blocks, done.stdout.split(f"{_END_OF_BLOCK}\n"), strict=False):
        assert printed == shown, commands


def test_every_make_target_in_the_docs_exists_and_readmes_two_are_run_by_ci() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z-]+)", _code(page))}
    assert {"demo", "test"} <= named <= targets
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(f"make {name}" in ci for name in ("demo", "test", "lint", "validate", "build"))


def _code(page: Path) -> str:
    """The page's commands: code blocks and inline code."""
    return "\n".join(re.findall(r"```sh\n.*?```|`[^`\n]+`", page.read_text(), re.DOTALL))


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_serving_lists_every_variable_and_every_item() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    read = set(re.findall(r'"([A-Z][A-Z_]{4,})"', (ROOT / "layers/shared/tips/settings.py").read_text()))
    read -= {"AWS_EXECUTION_ENV", "AWS_SAM_LOCAL"}  # Lambda's own
    template = Template()
    set_there = {name for one in template.functions().values() for name in one.environment}
    assert read | set_there <= set(re.findall(r"`([A-Z_]+)`", page))
    listed = {tuple(re.findall(r"`([^`]+)`", row)[:2]) for row in page.splitlines() if re.match(r"\| `[A-Z]#", row)}
    for item in _every_item():
        assert item in listed


def _every_item() -> set[tuple[str, str]]:
    """What `tips.state.keys` and its users make, with what differs put as the page puts it."""
    user, decision, letter = keys.user("{user}"), "{decision}", "{letter}"
    of_generate = keys.generation("{user}")
    return {
        keys.learning("{user}"),
        (user, keys.decision(decision)),
        (user, keys.wait(decision)),
        (user, f"{keys.event('')[:2]}{{hash}}"),
        (user, f"{keys.showing('')[:4]}{{hash}}"),
        (user, keys.source_sync("{source}")),
        keys.arms("{user}"),
        keys.profile("{user}"),
        (of_generate, keys.generated("{generation}")),
        (of_generate, keys.shown_text(decision)),
        (of_generate, keys.spending("{date}")),
        (f"{keys.tombstone('')[0][:2]}{{hash}}", keys.ERASED),
        keys.CONFIGURATION,
        (keys.AUDIT, "{entry}"),
        priors.in_use("{schema}"),
        priors.version("{schema}", "{version}"),
        (f"{AUDIT}#{{schema}}", "{entry}"),
        (PROFILES_AUDIT, "{entry}"),
        keys.breaker("{model}"),
        (keys.cap("{date}"), "{block}"),
        (keys.prompt_counts("", 0)[0].replace("00", "{shard}"), "{version}"),
        (keys.prompt_shown("", "", 0)[0].replace("00", "{shard}"), f"{keys.SHOWN_PREFIX}{{version}}#{decision}"),
        (keys.dead_letter("x")[0].replace("x", "{digit}"), keys.dead_letter_part(letter, 0)[0]),
        keys.BRIDGE_HEALTH,
    }
