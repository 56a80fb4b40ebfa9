"""`tips train`: from an export and a configuration to a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from offline.command import BadInput
from offline.experiments.recompute import recomputed
from offline.feature_store.logs import Logs
from offline.pipelines import people
from offline.pipelines.config import DEFAULT, TrainingConfig
from offline.pipelines.replay import replay
from offline.pipelines.train import train
from tests.lab.exports import HOUR_US, exported
from tests.lab.learning_people import END_US, World
from tests.lab.lived_logs import lived, write
from tips.bandit.learning import UserLearning
from tips.bandit.registry import POLICIES
from tips.features.crossed_v3 import CROSSED_V3
from tips.features.vectors import Schema
from tips.state import keys
from tips.state.learning import learning_item

CONFIG = TrainingConfig.read(DEFAULT)
UNTUNED = TrainingConfig.model_validate({"model": {"policy": "igw-ucb"}})


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return World(shadows=("egreedy-v2",)).export(tmp_path_factory.mktemp("world") / "logs")


def from_decisions(config: TrainingConfig) -> TrainingConfig:
    return config.model_copy(update={"data": config.data.model_copy(update={"source": "decisions"})})


@pytest.mark.parametrize("schema", [CROSSED_V3, POLICIES["egreedy-v2"].schema, POLICIES["linucb"].schema])
def test_decisions_summed_up_anew_give_what_the_functions_summed_up(logs: Logs, schema: Schema) -> None:
    now = people.last_moment(logs)
    kept = people.learned_of(logs, "statistics", schema, (), now)
    anew = people.learned_of(logs, "decisions", schema, (), now)
    if schema is POLICIES["linucb"].schema:
        assert not kept, "no policy on it was served"
        return
    assert list(kept) == list(anew)
    assert len(kept) == 14
    for name in kept:
        for part in ("xx", "rx", "weight", "rr"):
            np.testing.assert_allclose(getattr(anew[name], part), getattr(kept[name], part), rtol=0, atol=1e-9)


def test_both_sources_give_the_same_prior(logs: Logs) -> None:
    one, other = (train(logs, config, frozenset()).model.prior for config in (UNTUNED, from_decisions(UNTUNED)))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-9)
    np.testing.assert_allclose(one.strength, other.strength, rtol=1e-6)


def test_the_same_export_and_configuration_give_the_same_bytes(logs: Logs, tmp_path: Path) -> None:
    first = train(logs, CONFIG, frozenset()).model
    again = train(World(shadows=("egreedy-v2",)).export(tmp_path / "again"), CONFIG, frozenset()).model
    assert first.files() == again.files()
    assert first.provenance.data_hash == logs.data_hash


def test_other_data_or_another_configuration_give_another_version(logs: Logs, tmp_path: Path) -> None:
    version = train(logs, UNTUNED, frozenset()).model.prior.version
    other = UNTUNED.model_copy(update={"prior": UNTUNED.prior.model_copy(update={"max_strength": 5.0})})
    assert train(logs, other, frozenset()).model.prior.version != version
    world = World(shadows=("egreedy-v2",), people=15)
    assert train(world.export(tmp_path / "more"), UNTUNED, frozenset()).model.prior.version != version


def test_a_model_comes_back_from_its_files(logs: Logs, tmp_path: Path) -> None:
    model = train(logs, CONFIG, frozenset()).model
    model.write(tmp_path)
    assert type(model).read(tmp_path).files() == model.files()
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        type(model).read(tmp_path)


def test_who_was_erased_has_no_part_in_it(logs: Logs, tmp_path: Path) -> None:
    world = World(shadows=("egreedy-v2",))
    without = exported([one for one in world.items() if "person-003" not in one["pk"]["S"]], tmp_path / "without")
    trained = train(logs, CONFIG, frozenset({"person-003"})).model
    expected = train(without, CONFIG, frozenset()).model
    np.testing.assert_array_equal(trained.prior.mean, expected.prior.mean)
    assert trained.metrics == expected.metrics, "he is not judged either"
    assert trained.provenance.left_out == 1


def test_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="too little was learned under crossed-v3: 120 reactions of 5 people"):
        train(World(people=5).export(tmp_path / "few"), UNTUNED, frozenset())


@pytest.mark.parametrize("policy", ["igw-ucb", "egreedy-v2"])
def test_the_replay_is_that_of_the_evaluation(logs: Logs, policy: str) -> None:
    judged = POLICIES[policy]
    frame = logs.decisions
    everybody = dict.fromkeys(frame["user_id"].to_list())
    ours = {
        (one.decision.user_id, one.decision.decision_id): one.distribution(judged).propensity
        for one in replay(frame, judged.schema, everybody, people.as_of_us(logs))
    }
    ids = zip(frame["user_id"], frame["decision_id"], strict=True)
    theirs = dict(zip(ids, recomputed(frame, judged), strict=True))
    assert len(ours) == len(theirs) == 14 * 24
    for key, propensity in ours.items():
        np.testing.assert_allclose(propensity, theirs[key], atol=1e-12)


def test_the_replay_gives_the_logged_distributions(logs: Logs) -> None:
    policy = POLICIES["igw-ucb"]
    everybody = dict.fromkeys(logs.decisions["user_id"].to_list())
    for one in replay(logs.decisions, policy.schema, everybody, people.as_of_us(logs)):
        logged = one.decision.evaluations["igw-ucb"].propensity
        np.testing.assert_allclose(one.distribution(policy).propensity, logged, atol=1e-9)


def test_what_a_reset_made_void_is_left_out(logs: Logs) -> None:
    ids = logs.decisions.filter(pl.col("user_id") == "person-000")["decision_id"].to_list()
    mine = pl.col("user_id") == "person-000"
    epoch = pl.when(mine & (pl.col("decision_id") >= ids[10])).then(1).otherwise(pl.col("epoch"))
    blind = pl.when(mine & pl.col("decision_id").is_in([ids[3], ids[12]])).then(None).otherwise(epoch)
    reset = Logs(logs.folder, logs.manifest)
    reset.__dict__["decisions"] = logs.decisions.with_columns(blind.alias("epoch"))
    left = people.present_decisions(reset).filter(mine)["decision_id"].to_list()
    assert left == ids[10:]
    others = people.present_decisions(reset).filter(~mine)
    assert others["decision_id"].to_list() == logs.decisions.filter(~mine)["decision_id"].to_list()


def test_a_reset_after_the_last_decision_counts_as_well(tmp_path: Path) -> None:
    world = World()
    items = world.items()
    asked = next(item for item in items if item["sk"]["S"] == keys.LEARNING)
    emptied = UserLearning(revision=9, epoch=1, epoch_at=END_US - HOUR_US)
    key = asked["pk"]["S"], asked["sk"]["S"]
    items[items.index(asked)] = learning_item(key, emptied)
    user_id = asked["pk"]["S"].removeprefix(keys.user(""))
    logs = exported(items, tmp_path / "logs")
    assert user_id in logs.decisions["user_id"]
    assert user_id not in people.present_decisions(logs)["user_id"]
    for config in (CONFIG, from_decisions(CONFIG)):
        learned = people.learned_of(logs, config.data.source, CROSSED_V3, (), END_US)
        assert user_id not in learned
        assert len(learned) == world.people - 1


def test_the_default_is_kept_where_nothing_is_clearly_better(logs: Logs) -> None:
    tuning = CONFIG.tuning.model_copy(update={"min_effective_sample": 1.0})
    model = train(logs, CONFIG.model_copy(update={"tuning": tuning}), frozenset()).model
    assert max(one["difference"]["high"] for one in model.tuning["compared"]) > 0, "it may be better"
    assert model.parameters == {"alpha": 0.3, "c": 300.0}
    assert model.tuning["winner"] is None
    assert len(model.tuning["compared"]) == 17, "all of the grid but the default itself"
    assert model.metrics["dr_low"] < model.metrics["dr_value"] < model.metrics["dr_high"]


def test_a_combination_of_which_the_logs_tell_too_little_is_not_chosen(logs: Logs) -> None:
    tuning = CONFIG.tuning.model_copy(update={"min_effective_sample": 1e6})
    model = train(logs, CONFIG.model_copy(update={"tuning": tuning}), frozenset()).model
    assert model.tuning["said"] == "no combination has an effective sample of 1e+06: the default is kept"


def test_what_is_clearly_better_is_chosen(tmp_path: Path) -> None:
    """Logged almost by chance; the default chooses almost by chance as well, the grid has what does not."""
    igw = POLICIES["igw-ucb"]
    world = World(people=60, decisions=40, policy=replace(igw, c=0.5))  # type: ignore[call-arg]
    config = TrainingConfig.model_validate(
        {"model": {"policy": "squarecb"}, "tuning": {"grid": {"c": [0.1, 100.0]}, "min_effective_sample": 100}}
    )
    model = train(world.export(tmp_path / "logs"), config, frozenset()).model
    compared = {one["point"]["c"]: one for one in model.tuning["compared"]}
    assert compared[0.1]["difference"]["high"] < 0 < compared[100.0]["difference"]["low"]
    assert model.parameters == {"c": 100.0}
    assert model.metrics["dr_over_default_low"] > 0


def test_the_prior_and_rewards_of_the_judged_have_no_part_in_the_judgement(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's last reward changes nothing of how the person's own decisions are foretold."""
    from offline.pipelines import tuning

    seen: list[dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]] = []
    real = replay

    def remembering(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        seen.append({one.decision.decision_id: one.mean for one in found if one.decision.user_id == "person-000"})
        return found

    monkeypatch.setattr(tuning, "replay", remembering)
    train(logs, from_decisions(UNTUNED), frozenset())
    mine = pl.col("user_id") == "person-000"
    last = logs.decisions.filter(mine)["decision_id"].max()
    other = Logs(logs.folder, logs.manifest)
    changed = pl.when(mine & (pl.col("decision_id") == last)).then(-1.0).otherwise(pl.col("reward"))
    other.__dict__["decisions"] = logs.decisions.with_columns(changed.alias("reward"))
    train(other, from_decisions(UNTUNED), frozenset())
    before, after = seen
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[model]\npolicy = 'x'", "policy must be one of linucb"),
        ("[model]\npolicy = 'igw-ucb'\nalpha = 1", "model.alpha: Extra inputs are not permitted"),
        ("[model]\npolicy = 'igw-ucb'\n[tuning.grid]\nepsilon = [0.1]", "'epsilon', which igw-ucb has not"),
        ("[model]\npolicy = 'igw-ucb'\n[tuning.grid]\nalpha = [11.0]", "alpha must be a number from 0 to 10"),
        ("[model]\npolicy = 'igw-ucb'\n[tuning.grid]\nmax_strength = [50]", "must be from 1 to prior.max_strength"),
        ("[model", "cannot be read as TOML"),
    ],
)
def test_a_bad_configuration_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(BadInput, match=f"--config: .*{says}"):
        TrainingConfig.read(tmp_path / "config.toml")


def test_comments_and_order_do_not_change_a_configurations_hash(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("# other words\n[tuning]\nconfidence = 0.95\n[model]\nmin_explore = 0.02\npolicy = 'igw-ucb'\n")
    assert TrainingConfig.read(file).hash == UNTUNED.hash
    assert CONFIG.hash != UNTUNED.hash


def test_nothing_is_judged_by_a_policy_that_never_explores_or_by_reactions_alone(tmp_path: Path) -> None:
    rows = lived(people=4, each=5, active="linucb", shadows=("igw-ucb",))
    known = [row for row in rows if min(row["evaluations"][0]["propensity"]) > 0]
    explored = lived(people=4, each=20)[20:]
    explored[3] |= {"deferred": True, "wait_began_at": explored[3]["reacted_at"]}
    logs = Logs.read(write(tmp_path / "logs", [*rows, *explored]))
    found = replay(logs.decisions, CROSSED_V3, dict.fromkeys(people.everybody(logs)), people.as_of_us(logs))
    judged = {one.decision.decision_id for one in found}
    assert judged == {row["decision_id"] for row in (*known, *explored)} - {explored[3]["decision_id"]}
