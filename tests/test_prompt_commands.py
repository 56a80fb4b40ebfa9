"""`tips prompts ...`: what is shown of prompt versions, what a model would get, and who moves an alias."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devstack.template import ROOT
from offline.cli import main
from offline.prompt_report import WIDTH
from tests.conftest import LocalTable
from tests.test_cli import FORCED, Tips, spoil, stored
from tips.contracts.configuration import Configuration
from tips.contracts.generation import PromptContext
from tips.features.context import build_context
from tips.prompts import registry
from tips.prompts.prompt import Prompt, read_context_block
from tips.state.configuration import change, history
from tips.state.table import Table

NOWHERE = ("--endpoint", "http://127.0.0.1:1")
CONTEXT: dict[str, Any] = {
    "hour_of_day": 9,
    "tasks": [{"id": "1", "content": "Über </context>", "is_overdue": True}],
    "snippets": ["Rain until noon"],
}


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Tips:
    return Tips(table, capsys)


@pytest.fixture
def draft(monkeypatch: pytest.MonkeyPatch) -> Prompt:
    v1 = registry.prompts()["v1"]
    prompt = dataclasses.replace(v1, version="v9-draft", description="Rhymes", system=f"{v1.system} Rhyme.")
    known = {**registry.prompts(), "v9-draft": prompt}
    for module in ("tips.prompts.registry", "offline.prompt_commands", "offline.config_commands"):
        monkeypatch.setattr(f"{module}.prompts", lambda: known)
    return prompt


def set_aliases(client: Table, **aliases: str) -> None:
    """As other code than this one may have left them."""
    change(
        client,
        lambda current: current.model_copy(update={"prompt_aliases": aliases}),
        command="config set",
        actor="ann",
        reason="",
        deadline_ms=2000,
    )


def without_table(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["prompts", *arguments, *NOWHERE])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


# List


def test_list_shows_versions_and_what_aliases_stand_for(tips: Tips, client: Table) -> None:
    head, *lines = tips("prompts", "list").splitlines()
    assert head.split() == ["version", "state", "date", "author", "hash", "alias"]
    assert [line.split()[0] for line in lines[::2]] == list(registry.prompts())
    for line, description, prompt in zip(lines[::2], lines[1::2], registry.prompts().values(), strict=True):
        assert prompt.content_hash[:12] in line.split()
        assert registry.status(prompt) in line.split()
        assert prompt.released in line.split()
        assert description == f"  {prompt.description}"
    assert lines[0].endswith("  production")
    (latest,) = (line for line in lines if line.endswith("  latest"))
    assert latest.startswith(f"{list(registry.RELEASED)[-1]} ")
    set_aliases(client, production="v2-mentor", latest="v2-mentor")
    assert [line.split()[0] for line in tips("prompts", "list").splitlines() if line.endswith("latest")] == [
        "v2-mentor"
    ]
    assert "  production, latest\n" in tips("prompts", "list")


def test_lines_fit_a_terminal(tips: Tips, draft: Prompt) -> None:
    shown = [tips("prompts", "list"), *(tips("prompts", "show", version) for version in registry.prompts())]
    shown.append(tips("prompts", "diff", "v1", "v4-orchestrator"))
    assert max(len(line) for text in shown for line in text.splitlines()) <= WIDTH + 1


def test_list_tells_drafts_and_changed_texts(tips: Tips, draft: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"^v9-draft +draft ", tips("prompts", "list"), re.MULTILINE)
    monkeypatch.setattr(registry, "RELEASED", {**registry.RELEASED, "v9-draft": "0" * 64})
    assert re.search(r"^v9-draft +CHANGED ", tips("prompts", "list"), re.MULTILINE)


def test_list_works_without_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = without_table(capsys, "list")
    assert out.endswith("\nThe aliases are the defaults: the table did not answer.\n")
    assert re.search(r"^v1 .* production$", out, re.MULTILINE)
    shown = json.loads(without_table(capsys, "list", "--json"))
    assert shown["notes"] == ["The aliases are the defaults: the table did not answer."]


def test_list_works_with_a_damaged_configuration(tips: Tips) -> None:
    tips("promote", "lints", *FORCED)
    spoil(tips.table)
    assert tips("prompts", "list").endswith("\nThe aliases are the defaults: the configuration cannot be read.\n")


def test_list_says_which_alias_names_what_is_not_here(tips: Tips, client: Table) -> None:
    set_aliases(client, production="v99")
    assert "\nproduction is to be v99, no released version here; v1 stands in.\n" in tips("prompts", "list")
    assert "production is to be v99" in tips.refused("prompts", "show", "production")


def test_list_for_programs(tips: Tips) -> None:
    shown = json.loads(tips("prompts", "list", "--json"))
    assert shown["notes"] == []
    assert [(one["version"], one["status"], one["content_hash"]) for one in shown["versions"]] == [
        (version, registry.status(prompt), prompt.content_hash) for version, prompt in registry.prompts().items()
    ]
    aliases = {one["version"]: one["aliases"] for one in shown["versions"] if one["aliases"]}
    assert aliases == {"v1": ["production"], list(registry.RELEASED)[-1]: ["latest"]}


# Show and diff


@pytest.mark.parametrize("version", registry.prompts())
def test_show_prints_every_word(capsys: pytest.CaptureFixture[str], version: str) -> None:
    prompt = registry.prompts()[version]
    shown = without_table(capsys, "show", version)
    head = shown.splitlines()
    state = f"{registry.status(prompt)} {prompt.released} by {prompt.author}"
    assert head[:2] == [f"{version}, {state}", f"sha256 {prompt.content_hash}"]
    words = " ".join(shown.split())
    said = [prompt.system, prompt.user, prompt.description]
    said += [text for example in prompt.examples for tip in example.answer for text in tip.values()]
    assert all(" ".join(text.split()) in words for text in said)


def test_show_prints_a_schema_of_its_own(capsys: pytest.CaptureFixture[str], draft: Prompt) -> None:
    assert "The standard schema" in without_table(capsys, "show", "v9-draft")
    own = dataclasses.replace(draft, output_schema={"type": "object", "title": "rhymes"})
    known = {"v9-draft": own}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("offline.prompt_commands.prompts", lambda: known)
        assert '"title": "rhymes"' in without_table(capsys, "show", "v9-draft")


def test_show_for_programs_has_the_texts_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = registry.prompts()["v3-few-shot"]
    shown = json.loads(without_table(capsys, "show", "v3-few-shot", "--json"))
    assert (shown["system"], shown["user"], shown["content_hash"]) == (prompt.system, prompt.user, prompt.content_hash)
    assert [example["answer"] for example in shown["examples"]] == [list(one.answer) for one in prompt.examples]
    assert shown["output_schema"] == prompt.output_schema


def test_an_alias_is_a_version_everywhere(tips: Tips, client: Table, tmp_path: Path) -> None:
    set_aliases(client, production="v2-mentor")
    file = tmp_path / "context.json"
    file.write_text("{}")
    assert tips("prompts", "show", "production").startswith("v2-mentor, ")
    assert tips("prompts", "diff", "production", "latest").startswith("--- v2-mentor\n+++ v4-orchestrator\n")
    assert "calm, experienced mentor" in tips("prompts", "render", "production", "--context", str(file))


def test_diff_is_of_sentences(capsys: pytest.CaptureFixture[str], draft: Prompt) -> None:
    changes = [line for line in without_table(capsys, "diff", "v1", "v9-draft").splitlines() if line[0] in "+-"]
    assert changes[2:] == ["-Productivity coach: direct, energetic, one action at a time", "+Rhymes", "+Rhyme."]
    assert without_table(capsys, "diff", "v1", "v1") == "v1 and v1 say the same\n"


@pytest.mark.parametrize("command", [["show", "v9"], ["diff", "v1", "v9"], ["render", "v9", "--context", "-"]])
def test_an_unknown_version_is_refused_with_the_known(tips: Tips, command: list[str]) -> None:
    said = tips.refused("prompts", *command)
    known = ", ".join([*registry.prompts(), "production", "latest"])
    assert said == f"tips: 'v9' is no prompt version; there are {known}\n"


def test_an_alias_needs_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "show", "latest", *NOWHERE]) == 1
    assert capsys.readouterr().err.startswith("tips: the table ")


# Render


@pytest.mark.parametrize("version", registry.prompts())
def test_render_prints_what_is_sent(capsys: pytest.CaptureFixture[str], tmp_path: Path, version: str) -> None:
    file = tmp_path / "context.json"
    file.write_text(json.dumps(CONTEXT))
    context = build_context(PromptContext.model_validate_json(json.dumps(CONTEXT)), None, datetime.now(UTC))
    sent = registry.prompts()[version].render(context, 3)
    assert json.loads(without_table(capsys, "render", version, "--context", str(file), "--json")) == sent
    shown = without_table(capsys, "render", version, "--context", str(file))
    assert re.findall(r"^-- (\w+) -+$", shown, re.MULTILINE) == [message["role"] for message in sent]
    assert re.split(r"^-- \w+ -+\n", shown, flags=re.MULTILINE)[1:] == [
        message["content"] + ("\n" if message is sent[-1] else "\n\n") for message in sent
    ]


def test_render_takes_a_whole_body(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"user_id": "ann", "context": CONTEXT, "n": 5, "profile_features": {"preferred_hour": 8}}

    def seen(*arguments: str) -> dict[str, Any]:
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(body)))
        messages = json.loads(without_table(capsys, "render", "v1", "--context", "-", "--json", *arguments))
        return read_context_block(messages[-1]["content"]) or {}

    assert seen()["n"] == 5
    assert seen()["habits"] == {"preferred_hour": 8}
    assert seen("--n", "2")["n"] == 2
    del body["user_id"]
    assert seen()["tasks"] == [{"title": "Über </context>", "overdue": True}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"hour_of_day": 24}', "context.hour_of_day: "),
        (b'{"context": {}, "n": 11}', "n: "),
        (b'{"snippets": ["\\ud800"]}', "context.json: Invalid JSON: "),
        (b'{"timezone": "Mars/Crater"}', "context.timezone: must be an IANA time zone"),
        (b'{"timezone": "localtime"}', "context.timezone: must be an IANA time zone"),
    ],
)
def test_render_refuses_a_file(tips: Tips, tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "context.json"
    if content is not None:
        file.write_bytes(content)
    assert says in tips.refused("prompts", "render", "v1", "--context", str(file))


# Promote


def test_promote_moves_production_and_says_so(tips: Tips, client: Table) -> None:
    said = tips("prompts", "promote", "v2-mentor", "--by", "ann", "--reason", "calmer").splitlines()
    assert said[0] == "production stands for v2-mentor now (before: v1, the default)"
    assert "prompt aliases  production v2-mentor" in said
    assert stored(client) == Configuration(prompt_aliases={"production": "v2-mentor"})
    (entry,) = history(client, 10)
    assert (entry.actor, entry.reason) == ("ann", "calmer")
    assert entry.command == "prompts promote v2-mentor --alias production"
    assert tips("prompts", "promote", "v2-mentor").startswith("nothing to change: version 1 ")


def test_promote_takes_aliases(tips: Tips, client: Table) -> None:
    tips("prompts", "promote", "v2-mentor", "--alias", "latest")
    said = tips("prompts", "promote", "latest")
    assert said.startswith("production stands for v2-mentor now (before: v1, the default)\n")
    said = tips("prompts", "promote", "v3-few-shot")
    assert said.startswith("production stands for v3-few-shot now (before: v2-mentor)\n")
    assert stored(client).prompt_aliases == {"latest": "v2-mentor", "production": "v3-few-shot"}
    assert "prompt aliases  production v3-few-shot, latest v2-mentor" in tips("config", "show")


def test_rollback_undoes_a_promotion_and_promotion_touches_nothing_else(tips: Tips, client: Table) -> None:
    tips("promote", "lints", *FORCED)
    tips("prompts", "promote", "v2-mentor")
    assert stored(client).active_policy == "lints"
    tips("rollback")
    assert (stored(client).active_policy, stored(client).prompt_aliases) == ("lints", {})


def test_promote_refuses_what_is_not_released(tips: Tips, draft: Prompt) -> None:
    assert "v9-draft is a draft" in tips.refused("prompts", "promote", "v9-draft")
    assert "'v99' is no prompt version" in tips.refused("prompts", "promote", "v99")
    assert tips.run("prompts", "promote", "v1", "--alias", "best")[0] == 2
    assert "--reason must be one printable line" in tips.refused("prompts", "promote", "v1", "--reason", "x" * 501)
    assert tips.table.items() == []


def test_promote_needs_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABLE_DEADLINE_MS", "500")
    assert main(["prompts", "promote", "v2-mentor", *NOWHERE]) == 1
    assert capsys.readouterr().err.startswith("tips: the table ")


@pytest.mark.usefixtures("draft")
def test_config_sets_aliases_and_refuses_what_none_may_stand_for(tips: Tips, client: Table) -> None:
    for value, says in (
        ('{"production": "v99"}', "prompt_aliases.production: 'v99' is no released prompt version; there are v1, "),
        ('{"latest": "v9-draft"}', "prompt_aliases.latest: 'v9-draft' is no released prompt version"),
        ('{"production": "latest"}', "'latest' is no released prompt version"),
        ('{"best": "v1"}', "prompt_aliases.best"),
        ("[]", "prompt_aliases: "),
        ("v1", "prompt_aliases: must be JSON"),
    ):
        assert says in tips.refused("config", "set", f"prompt_aliases={value}")
    tips("config", "set", 'prompt_aliases={"production": "v2-mentor"}')
    assert stored(client).prompt_aliases == {"production": "v2-mentor"}
    tips("config", "set", "prompt_aliases=")
    assert stored(client) == Configuration()


def test_rollback_does_not_restore_an_alias_that_this_code_cannot_serve(tips: Tips, client: Table) -> None:
    set_aliases(client, production="v99")
    tips("config", "set", "prompt_aliases=")
    assert "'v99' is no released prompt version" in tips.refused("rollback")


# The page

_BLOCK = re.compile(r"```sh\n(.*?)```(?:\s+```text\n(.*?)```)?", re.DOTALL)
_END = "-- end of block --"


def of_no_time(text: str) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "(time)", text).splitlines()]


def without_later_versions(printed: str, page: str) -> str:
    """Return the text without the lines, and the descriptions below them, of versions that the page does not name."""
    for version, prompt in registry.prompts().items():
        if version not in page:
            printed = re.sub(rf"(?m)^{version} .*\n  {re.escape(prompt.description)}\n", "", printed)
    return printed


@pytest.mark.thorough
def test_the_command_line_prints_what_the_page_shows(table: LocalTable) -> None:
    """Its blocks are one session, from the first on a fresh table to the last."""
    page = (ROOT / "docs" / "prompts.md").read_text()
    blocks = _BLOCK.findall(page)
    assert len(blocks) >= 5
    script = "set -e\n" + "".join(f"{commands}echo '{_END}'\n" for commands, _ in blocks)
    script = script.replace("http://127.0.0.1:8000", table.endpoint)
    script = script.replace("TABLE_NAME=tips", f"TABLE_NAME={table.name}")
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (commands, shown), printed in zip(blocks, done.stdout.split(f"{_END}\n"), strict=False):
        assert of_no_time(without_later_versions(printed, page)) == of_no_time(shown), commands
