"""The command line `tips`, as people call it: what it prints, what it changes, how it refuses."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devstack.template import ROOT
from offline.cli import main
from tests.conftest import LocalTable
from tests.faulty_dynamodb import faulty_dynamodb
from tips.bandit.registry import POLICIES
from tips.contracts.configuration import Configuration
from tips.prompts.registry import prompts
from tips.settings import Settings
from tips.state import keys
from tips.state.configuration import history, read_configuration
from tips.state.table import Table

DEFAULT = Settings().active_policy
FORCED = ("--force", "--reason", "a test")
"""Another policy answers without evidence that it may."""
EXPERIMENT: dict[str, Any] = {
    "name": "voices",
    "kind": "prompt_version",
    "arms": {"v1": 0.5, "v2-mentor": 0.25},
    "salt": "s-1",
    "start": "2026-01-01T00:00:00Z",
}


@dataclass
class Tips:
    """Runs commands against one table."""

    table: LocalTable
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> str:
        """Return what a command prints; it must succeed and complain about nothing."""
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, ""), err
        return out

    def refused(self, *arguments: str, code: int = 2) -> str:
        """Return the one line that a command fails with."""
        got, out, err = self.run(*arguments)
        assert got == code, err or out
        assert "Traceback" not in err
        assert re.fullmatch(r"tips: .+\n", err), err
        return err

    def run(self, *arguments: str) -> tuple[int, str, str]:
        place = ["--table", self.table.name, "--endpoint", self.table.endpoint]
        code = main([*arguments, *place])
        out, err = self.capsys.readouterr()
        return code, out, err


@pytest.fixture
def tips(table: LocalTable, capsys: pytest.CaptureFixture[str]) -> Tips:
    return Tips(table, capsys)


def stored(client: Table) -> Configuration:
    return read_configuration(client.get(*keys.CONFIGURATION)).configuration


def spoil(table: LocalTable) -> None:
    (item,) = [item for item in table.items() if item["pk"]["S"] == keys.CONFIGURATION[0]]
    table.client.put_item(TableName=table.name, Item={**item, "document": {"S": "{"}})


# Show


def test_show_before_any_change(tips: Tips) -> None:
    assert tips("config", "show").splitlines() == [
        "version        0",
        f"active policy  {DEFAULT} (the default; the configuration names none)",
        "shadows        none",
        "experiments    none",
    ]


def test_show_says_who_changed_it_last_and_when(tips: Tips) -> None:
    tips("config", "set", f"experiments={json.dumps([EXPERIMENT])}", "--by", "ann")
    tips("promote", "lints", *FORCED, "--by", "ben", "--reason", "calmer")
    first, *rest = tips("config", "show").splitlines()
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    assert re.fullmatch(rf"version        2, {when}, ben: promote lints --force \(not judged\) \(calmer\)", first)
    assert rest == [
        "active policy  lints",
        f"shadows        {DEFAULT}",
        "experiments    1",
        "  voices  prompt_version  v1 0.5, v2-mentor 0.25  runs",
    ]


def test_show_history(tips: Tips) -> None:
    for policy in ("linucb", "lints", "squarecb"):
        tips("config", "set", *FORCED, f"active_policy={policy}", "--by", "ann")
    shown = tips("config", "show", "--history", "2").split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in shown] == ["version", "3", "2"]
    assert "config set active_policy=squarecb" in shown[1]


def test_show_for_programs(tips: Tips) -> None:
    assert json.loads(tips("config", "show", "--json")) == {
        "version": 0,
        "active_policy": DEFAULT,
        "configuration": Configuration().model_dump(mode="json"),
        "changed": None,
        "history": [],
    }
    tips("config", "set", *FORCED, "active_policy=lints", "--by", "ann", "--reason", "ünïcode")
    shown = json.loads(tips("config", "show", "--json", "--history", "5"))
    assert (shown["version"], shown["active_policy"]) == (1, "lints")
    assert shown["history"] == [shown["changed"]]
    assert (shown["changed"]["by"], shown["changed"]["reason"]) == ("ann", "ünïcode")


# Set


def test_set_changes_what_is_named_and_clears_with_an_empty_value(tips: Tips, client: Table) -> None:
    tips("config", "set", *FORCED, "active_policy=lints", "shadows=linucb, igw-ucb")
    assert stored(client) == Configuration(active_policy="lints", shadows=["linucb", "igw-ucb"])
    tips("config", "set", *FORCED, "active_policy=squarecb")
    assert stored(client) == Configuration(active_policy="squarecb", shadows=["linucb", "igw-ucb"])
    tips("config", "set", *FORCED, "active_policy=", "shadows=")
    assert stored(client) == Configuration()


def test_set_takes_what_show_prints(tips: Tips, client: Table, tmp_path: Path) -> None:
    tips("config", "set", *FORCED, "active_policy=lints", f"experiments={json.dumps([EXPERIMENT])}")
    shown = json.loads(tips("config", "show", "--json"))["configuration"]
    tips("rollback")
    file = tmp_path / "configuration.json"
    file.write_text(json.dumps(shown))
    tips("config", "set", *FORCED, "--file", str(file))
    assert stored(client) == Configuration.model_validate_json(json.dumps(shown))


def test_a_file_sets_the_keys_it_has(tips: Tips, client: Table, tmp_path: Path) -> None:
    tips("config", "set", *FORCED, "active_policy=lints")
    file = tmp_path / "experiments.json"
    file.write_text(json.dumps({"experiments": [EXPERIMENT]}))
    tips("config", "set", "--file", str(file))
    assert (stored(client).active_policy, len(stored(client).experiments)) == ("lints", 1)
    assert str(tmp_path) not in str(tips.table.items()), "whose machine it was is nobody's business"


def test_setting_what_is_so_makes_no_version(tips: Tips, client: Table) -> None:
    tips("config", "set", *FORCED, "active_policy=lints")
    assert tips("config", "set", *FORCED, "active_policy=lints") == "nothing to change: version 1 says so already\n"
    assert len(history(client, 10)) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "either as KEY=VALUE or with --file"),
        (["active_policy"], "must be KEY=VALUE"),
        (["colour=red"], "of active_policy, shadows, experiments"),
        (["shadows=linucb", "shadows=lints"], "each KEY once"),
        (["active_policy=best"], "active_policy: 'best' is no policy; there are "),
        (["shadows=linucb,best"], "shadows: 'best' is no policy; there are "),
        (["shadows=linucb,,lints"], "shadows.1: "),
        (["shadows=linucb,linucb"], "shadows: each must be named once"),
        (["shadows=linucb,lints,squarecb,igw-ucb"], "at most 3"),
        (["active_policy=linucb", "shadows=linucb"], "linucb is the active policy"),
        (["experiments={"], "experiments: must be JSON"),
        (["experiments=" + "[" * 100_000], "experiments: must be JSON"),
        (["experiments=7"], "experiments: "),
        (["experiments=[{}]"], "experiments.0.name: "),
        (
            [f"experiments={json.dumps([{**EXPERIMENT, 'kinds': 1}])}"],
            "there is no such field; there are name, kind, arms",
        ),
        (
            [f"experiments={json.dumps([{**EXPERIMENT, 'arms': {'v9': 1}}])}"],
            f"arms of voices: 'v9' is no prompt version; there are {', '.join(prompts())}",
        ),
        (
            [f"experiments={json.dumps([{**EXPERIMENT, 'kind': 'policy'}])}"],
            f"arms of voices: 'v1' is no policy; there are {', '.join(POLICIES)}",
        ),
        (
            [f"experiments={json.dumps([EXPERIMENT, {**EXPERIMENT, 'name': 'again'}])}"],
            "voices and again are both of kind prompt_version and must not run at the same time",
        ),
        (["active_policy=lints", "--reason", "x" * 501], "--reason must be one printable line"),
        (["active_policy=lints", "--by", "a\nb"], "--by must be one printable line"),
    ],
)
def test_set_refuses(tips: Tips, arguments: list[str], says: str) -> None:
    assert says in tips.refused("config", "set", *arguments)
    assert tips.table.items() == []


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"\xff", "cannot be read"), (b"{", "must be JSON"), (b"[]", "must be a JSON object")],
)
def test_set_refuses_a_file(tips: Tips, tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "file.json"
    if content is not None:
        file.write_bytes(content)
    assert says in tips.refused("config", "set", "--file", str(file))
    tips.refused("config", "set", "active_policy=lints", "--file", str(file))


# Promote and rollback


def test_promote_keeps_the_old_policy_learning(tips: Tips, client: Table) -> None:
    tips("config", "set", *FORCED, "active_policy=lints", "shadows=linucb,squarecb")
    shown = tips("promote", "squarecb", *FORCED)
    assert stored(client) == Configuration(active_policy="squarecb", shadows=["lints", "linucb"])
    assert "active policy  squarecb" in shown
    assert "The functions follow within 30 s." in shown


def test_promote_over_the_default_makes_the_default_a_shadow(
    tips: Tips, client: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVE_POLICY", "egreedy-v1")
    tips("promote", "lints", *FORCED)
    assert stored(client) == Configuration(active_policy="lints", shadows=["egreedy-v1"])


def test_promote_without_shadow(tips: Tips, client: Table) -> None:
    tips("config", "set", *FORCED, "active_policy=lints", "shadows=linucb")
    tips("promote", "linucb", *FORCED, "--no-shadow")
    assert stored(client) == Configuration(active_policy="linucb")


def test_promote_the_active_policy_changes_nothing(tips: Tips) -> None:
    tips("promote", "lints", *FORCED)
    assert "nothing to change" in tips("promote", "lints", *FORCED)


def test_promote_refuses(tips: Tips, client: Table) -> None:
    assert "'best' is no policy" in tips.refused("promote", "best")
    tips("config", "set", *FORCED, "active_policy=lints", "shadows=linucb,squarecb,egreedy-v1")
    assert "--no-shadow" in tips.refused("promote", "egreedy-v2", *FORCED)
    tips("promote", "egreedy-v2", *FORCED, "--no-shadow")
    assert len(stored(client).shadows) == 3


def test_no_policy_comes_to_answer_without_evidence_unless_forced(tips: Tips, client: Table, tmp_path: Path) -> None:
    assert "--logs" in tips.refused("promote", "lints", "--reason", "it is better")
    assert "tips promote lints" in tips.refused("config", "set", "active_policy=lints")
    file = tmp_path / "changes.json"
    file.write_text('{"active_policy": "lints"}')
    assert "tips promote lints" in tips.refused("config", "set", "--file", str(file), "--reason", "it is better")
    for command in (["promote", "lints"], ["config", "set", "active_policy=lints"]):
        assert "--reason" in tips.refused(*command, "--force")
        assert "--reason" in tips.refused(*command, "--force", "--reason", "  ")
    assert stored(client) == Configuration()
    assert history(client, 1) == []


def test_an_experiment_is_no_way_around_the_gate(tips: Tips, client: Table) -> None:
    def experiment(kind: str, **arms: float) -> str:
        arms_named = {name.replace("_", "-"): share for name, share in arms.items()}
        return f"experiments={json.dumps([{**EXPERIMENT, 'kind': kind, 'arms': arms_named}])}"

    assert "voices has policies other than igw-ucb answer 100%" in tips.refused(
        "config", "set", experiment("policy", lints=1.0)
    )
    tips.refused("config", "set", experiment("policy", lints=0.3, squarecb=0.25))
    assert stored(client).experiments == []
    tips("config", "set", experiment("policy", igw_ucb=0.5, lints=0.5))
    tips("config", "set", "shadows=squarecb")
    tips.refused("config", "set", experiment("policy", igw_ucb=0.4, lints=0.6))
    tips("config", "set", *FORCED, experiment("policy", lints=1.0))
    tips("config", "set", "shadows=")
    tips("config", "set", "experiments=")
    prompts_of_all = experiment("prompt_version", v1=1.0)
    tips("config", "set", prompts_of_all)


def test_what_was_forced_is_in_the_trail(tips: Tips, client: Table) -> None:
    tips("promote", "lints", "--force", "--reason", "an outage of igw-ucb")
    tips("config", "set", "--force", "--reason", "and of lints", "active_policy=linucb", "shadows=")
    assert [(one.command, one.reason) for one in history(client, 2)] == [
        ("config set active_policy=linucb shadows= --force", "and of lints"),
        ("promote lints --force (not judged)", "an outage of igw-ucb"),
    ]


def test_naming_the_default_and_leaving_it_to_the_default_changes_nobody(tips: Tips, client: Table) -> None:
    tips("config", "set", f"active_policy={DEFAULT}")
    tips("config", "set", "active_policy=", "shadows=lints")
    assert stored(client) == Configuration(shadows=["lints"])


def test_rollback_goes_back_and_further_back(tips: Tips, client: Table) -> None:
    tips("promote", "lints", *FORCED, "--no-shadow")
    tips("promote", "squarecb", *FORCED, "--no-shadow")
    assert "active policy  lints" in tips("rollback", "--reason", "worse on Mondays")
    assert "active policy  " + DEFAULT in tips("rollback")
    assert "no earlier configuration" in tips.refused("rollback")
    assert "active policy  squarecb" in tips("rollback", "--to", "2")
    assert [entry.command for entry in history(client, 3)] == ["rollback --to 2", "rollback", "rollback"]
    assert "no version 99" in tips.refused("rollback", "--to", "99")


def test_rollback_does_not_restore_what_this_code_cannot_serve(tips: Tips, monkeypatch: pytest.MonkeyPatch) -> None:
    tips("promote", "lints", *FORCED, "--no-shadow")
    tips("promote", "squarecb", *FORCED, "--no-shadow")
    without = {name: policy for name, policy in POLICIES.items() if name != "lints"}
    monkeypatch.setattr("offline.config_commands.POLICIES", without)
    assert "'lints' is no policy" in tips.refused("rollback")


def test_the_actor_is_the_login_unless_said(tips: Tips, client: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "login")
    tips("promote", "lints", *FORCED)
    tips("promote", "squarecb", *FORCED, "--by", "ann")
    assert [entry.actor for entry in history(client, 2)] == ["ann", "login"]

    def nobody() -> str:
        raise OSError

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert "--by" in tips.refused("rollback")


# Faults


def test_a_damaged_configuration_is_said_and_can_be_mended(tips: Tips, client: Table) -> None:
    tips("promote", "lints", *FORCED)
    spoil(tips.table)
    code, out, err = tips.run("config", "show")
    assert code == 1
    assert "promote lints" in out, "the trail shows what to go back to"
    assert re.fullmatch(
        r"tips: the configuration cannot be read: version 1 is damaged: .*rollback --to VERSION.*\n", err
    )
    assert "version 1 is damaged" in tips.refused("promote", "squarecb", *FORCED, code=1)
    tips("rollback", "--to", "1")
    assert stored(client).active_policy == "lints"


@pytest.mark.parametrize("command", [["config", "show"], ["promote", "lints", *FORCED], ["rollback"]])
@pytest.mark.parametrize("fault", ["throttling", "forbidden", "nonsense", "refused"])
def test_a_table_that_is_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: str, command: list[str]
) -> None:
    # What the last try met is told, and on a busy machine the first may take its time.
    monkeypatch.setenv("TABLE_DEADLINE_MS", "1000" if fault == "refused" else "100")
    with faulty_dynamodb(fault) if fault != "refused" else nullcontext("http://127.0.0.1:1") as endpoint:
        said = Tips(LocalTable(endpoint, "tips", None), capsys).refused(*command, code=1)
    assert said.startswith("tips: the table ")
    assert fault != "refused" or "Could not connect" in said


def test_a_table_that_does_not_exist(tips: Tips) -> None:
    code = main(["config", "show", "--table", "another", "--endpoint", tips.table.endpoint])
    assert (code, "ResourceNotFound" in tips.capsys.readouterr().err) == (1, True)


def test_the_place_comes_from_the_environment_unless_said(
    tips: Tips, monkeypatch: pytest.MonkeyPatch, table: LocalTable
) -> None:
    for name, value in table.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["promote", "lints", *FORCED]) == 0
    assert "active policy  lints" in tips("config", "show")


def test_settings_and_addresses_that_are_none(tips: Tips, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["config", "show", "--endpoint", "nowhere"]) == 2
    assert tips.capsys.readouterr().err == "tips: Invalid endpoint: nowhere\n"
    assert main(["config", "show", "--region", "a b"]) == 2
    assert tips.capsys.readouterr().err.startswith("tips: ")
    monkeypatch.setenv("CONFIG_CACHE_SEC", "often")
    assert "CONFIG_CACHE_SEC" in tips.refused("config", "show")


@pytest.mark.parametrize(
    "arguments", [["colour"], ["promote"], ["config", "set", "--colour"], ["rollback", "--to", "x"]]
)
def test_a_wrong_call_says_how_to_call(tips: Tips, arguments: list[str]) -> None:
    code, _, err = tips.run(*arguments)
    assert code == 2
    assert err.startswith("Usage: tips")
    assert "Traceback" not in err


# The launcher


@pytest.mark.thorough
def test_the_launcher_works_from_anywhere(tmp_path: Path, table: LocalTable) -> None:
    launcher = ROOT / ".venv" / "bin" / "tips"
    link = tmp_path / "link"
    link.symlink_to(launcher)
    (tmp_path / "offline").mkdir()
    (tmp_path / "offline" / "__init__.py").write_text("raise SystemExit('somebody else')")
    for command in (str(launcher), str(link), os.path.relpath(launcher, tmp_path)):
        environment = {**os.environ, **table.environment()}
        done = subprocess.run(
            [command, "config", "show"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout.startswith("version        0")


def test_make_env_leaves_the_launcher_as_it_is_written() -> None:
    assert (ROOT / ".venv" / "bin" / "tips").read_text() == (ROOT / "scripts" / "tips.sh").read_text()
    assert str(ROOT) not in (ROOT / "scripts" / "tips.sh").read_text()
