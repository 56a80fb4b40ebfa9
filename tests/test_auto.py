"""`prompt_version: "auto"`: people who like different voices get them, through the real handlers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from tests.conftest import LoadedFunction, LocalTable
from tests.model_server import ModelServer
from tips import prompt_choice
from tips.bandit.decision import draw
from tips.bandit.igw_ucb import InverseGapUCB
from tips.bandit.learning import SchemaLearning, UserLearning
from tips.bandit.posterior import form_posterior
from tips.bandit.statistics import Statistics
from tips.features.prompt_arms import prompt_situation
from tips.features.vectors import Candidate
from tips.prompt_choice import ALPHA, SCHEMA
from tips.prompts import registry
from tips.prompts.prompt import read_context_block
from tips.state import keys
from tips.state.generations import Generation, read_generation
from tips.state.learning import read_learning, write
from tips.state.table import Table

RELEASED = [prompt.version for prompt in registry.released()]
POLICY = InverseGapUCB(name="igw-ucb", schema=SCHEMA, alpha=ALPHA)
LIKES: Mapping[str, str] = {"ann": "v2-mentor", "ben": "v1", "cleo": "v4-orchestrator"}
TASKS = [{"id": "1", "content": "Renew the passport", "is_overdue": True}, {"id": "2", "content": "Water the plants"}]


@dataclass
class Functions:
    generate: LoadedFunction
    score: LoadedFunction
    client: Table

    def write(self, user_id: str, **fields: Any) -> dict[str, Any]:
        answer = self.generate.call("POST", "/generate", {"user_id": user_id, "prompt_version": "auto", **fields})
        assert answer.status == 200, answer.text
        return dict(answer.json)

    def show(self, user_id: str, written: Mapping[str, Any]) -> str:
        answer = self.score.call("POST", "/score", {"user_id": user_id, "candidates": written["candidates"]})
        assert answer.json["logged"], answer.text
        return str(answer.json["decision_id"])

    def react(self, user_id: str, decision_id: str, reward: float) -> None:
        body = {"user_id": user_id, "decision_id": decision_id, "reward": reward}
        assert self.score.call("POST", "/reward", body).status == 200

    def generation(self, user_id: str, generation_id: str) -> Generation:
        item = self.client.get(keys.generation(user_id), keys.generated(generation_id))
        assert item is not None
        return read_generation(item)

    def stats(self) -> dict[str, dict[str, Any]]:
        answer = self.generate.call("GET", "/prompts/stats")
        assert answer.status == 200, answer.text
        return {one["version"]: one for one in answer.json["versions"]}


@pytest.fixture
def functions(load_function: Callable[..., LoadedFunction], table: LocalTable, client: Table) -> Functions:
    return Functions(load_function("generate", CONFIG_CACHE_SEC="0"), load_function("score"), client)


def test_what_a_generation_took_is_kept_with_it(functions: Functions) -> None:
    answer = functions.write("ann", context={"tasks": TASKS})

    spent = functions.generation("ann", answer["generation_id"]).spent

    assert spent is not None
    told = ("prompt_tokens", "completion_tokens", "cost_usd", "attempts")
    assert [getattr(spent, name) for name in told] == [answer[name] for name in told]
    assert spent.took_ms > 0


def live(functions: Functions, rounds: int, rng: random.Random) -> tuple[dict[str, list[str]], dict[str, list[float]]]:
    """Return, per person, the versions that wrote for them, and per version the rewards that its tips had."""
    served: dict[str, list[str]] = {user: [] for user in LIKES}
    rewards: dict[str, list[float]] = {version: [] for version in registry.prompts()}
    for _ in range(rounds):
        for user, liked in LIKES.items():
            context = {"tasks": TASKS, "hour_of_day": rng.randrange(7, 23), "day_of_week": rng.randrange(7)}
            written = functions.write(user, n=2, context=context)
            version = written["prompt_version"]
            likes_it = rng.random() < (0.9 if version == liked else 0.25)
            reward = 0.6 if likes_it else rng.choice([-1.0, -0.5])
            functions.react(user, functions.show(user, written), reward)
            served[user].append(version)
            rewards[version].append(reward)
    return served, rewards


def expected_reward(liked: bool) -> float:
    chance = 0.9 if liked else 0.25
    return chance * 0.6 - (1 - chance) * 0.75


@pytest.mark.parametrize(
    "rounds", [pytest.param(40, marks=pytest.mark.thorough), pytest.param(150, marks=pytest.mark.long)]
)
def test_most_traffic_goes_to_the_version_that_each_likes(
    functions: Functions, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which version is drawn depends on an id that is new each time: draws that can be repeated stand in for it.
    rng = random.Random(11)
    monkeypatch.setattr(prompt_choice, "draw", lambda chances, _: rng.choices(range(len(chances)), chances)[0])
    served, rewards = live(functions, rounds, rng)
    for user, liked in LIKES.items():
        late = Counter(served[user][rounds * 2 // 3 :])
        assert late[liked] > 0.5 * late.total(), f"{user} likes {liked} and got {late}"
    stats = functions.stats()
    for version, had in rewards.items():
        one = stats[version]
        assert (one["shown"], one["settled"], one["reactions"]) == (len(had), len(had), len(had))
        if not had:
            assert one["mean_reward"] is one["interval"] is None
            continue
        assert one["mean_reward"] == pytest.approx(sum(had) / len(had))
        # What the rewards were expected to be, given who was served.
        truth = np.mean(
            [expected_reward(LIKES[user] == version) for user in LIKES for one in served[user] if one == version]
        )
        low, high = one["interval"]
        assert low <= truth <= high
        assert high - low < 2.0 or len(had) < 10


def test_many_people_are_served_what_they_like() -> None:
    """The policy alone, over many people, so that no single run of luck decides."""
    rng = random.Random(3)

    def reward(right: list[bool]) -> float:
        return 0.6 if rng.random() < (0.9 if right[-1] else 0.25) else rng.choice([-1.0, -0.5])

    hours = [(hour, day) for hour in range(7, 23) for day in range(7)]
    late = [np.mean(alone(liked, 40, hours, reward, rng)[-13:]) for liked in RELEASED * 10]
    assert np.mean(late) > 0.85
    assert np.mean(np.array(late) > 0.5) > 0.9


def test_one_unlucky_reaction_does_not_end_a_voice_that_is_liked() -> None:
    """It was dismissed when it was first shown, and another one that is liked less may have been lucky meanwhile."""
    rng = random.Random(4)

    def reward(right: list[bool]) -> float:
        unlucky = right[-1] and sum(right) == 1
        return 1.0 if not unlucky and rng.random() < (0.7 if right[-1] else 0.3) else -1.0

    late = [np.mean(alone(liked, 150, [(None, None)], reward, rng)[-50:]) for liked in RELEASED * 10]
    assert np.mean(np.array(late) > 0.5) > 0.85


def alone(
    liked: str,
    rounds: int,
    times: Sequence[tuple[int | None, int | None]],
    reward: Callable[[list[bool]], float],
    rng: random.Random,
) -> list[bool]:
    """Return whether each round served the liked version. times: hours and days; reward: of the rounds so far."""
    right: list[bool] = []
    statistics = Statistics.empty(SCHEMA.dimension)
    for _ in range(rounds):
        X = SCHEMA.encode(prompt_situation(*rng.choice(times), {}, 2), [Candidate(prompt_version=v) for v in RELEASED])
        distribution, _ = POLICY.distribution(X, form_posterior(statistics))
        drawn = rng.choices(range(len(RELEASED)), distribution.propensity.tolist())[0]
        right.append(RELEASED[drawn] == liked)
        statistics = statistics.learn(X[drawn], 1, None, reward(right))
    return right


def test_the_probability_is_logged_and_replays_from_what_was_known(functions: Functions) -> None:
    for number in range(6):
        learned = read_learning(functions.client.get(*keys.arms("ann")))
        written = functions.write("ann", context={"hour_of_day": 8, "day_of_week": 5, "tasks": TASKS})
        logged = functions.generation("ann", written["generation_id"])
        assert logged.policy == "igw-ucb"
        assert list(logged.versions) == RELEASED
        assert sum(logged.propensity) == pytest.approx(1.0, abs=1e-12)
        assert min(logged.propensity) >= 0.02 / len(RELEASED)
        again = POLICY.replay(np.array(logged.mean), np.array(logged.width), logged.parameters or {})
        assert again.propensity.tolist() == list(logged.propensity)
        drawn = draw(again.propensity, written["generation_id"])
        assert RELEASED[drawn] == logged.version == written["prompt_version"]
        assert written["prompt_propensity"] == logged.propensity[drawn]
        # The means are those of ridge regression on what had been learned.
        posterior = form_posterior(learned.statistics(SCHEMA))
        mean, _ = posterior.predict(np.array([logged.vector]))
        assert mean[0] == pytest.approx(logged.mean[drawn], abs=1e-12)
        functions.react("ann", functions.show("ann", written), (-1) ** number * 0.5)


def test_nothing_is_known_of_a_stranger_so_all_are_as_likely(functions: Functions) -> None:
    written = functions.write("stranger")
    assert written["prompt_propensity"] == pytest.approx(1 / len(RELEASED))
    assert written["logged"] is True


@pytest.mark.parametrize(
    ("asked", "policy", "versions"),
    [
        ("v2-mentor", "fixed", ["v2-mentor"]),
        ("latest", "fixed", [RELEASED[-1]]),
        ("v1, v2-mentor", "rotation", ["v1", "v2-mentor"]),
        ("production,v1", "fixed", ["v1"]),
    ],
)
def test_whatever_is_asked_for_is_logged_with_its_probability(
    functions: Functions, asked: str, policy: str, versions: list[str]
) -> None:
    seen: Counter[str] = Counter()
    for _ in range(1 if policy == "fixed" else 20):
        written = functions.write("ann", prompt_version=asked, n=1)
        logged = functions.generation("ann", written["generation_id"])
        assert (logged.policy, list(logged.versions)) == (policy, versions)
        assert logged.propensity == [1 / len(versions)] * len(versions)
        assert written["prompt_propensity"] == 1 / len(versions)
        assert logged.version == written["prompt_version"] == written["candidates"][0]["prompt_version"]
        seen[written["prompt_version"]] += 1
    assert set(seen) == set(versions)


def test_what_was_asked_for_by_name_teaches_auto(functions: Functions) -> None:
    for version, reward in [("v1", -1.0), ("v3-few-shot", 1.0)] * 8:
        written = functions.write("ann", prompt_version=version)
        functions.react("ann", functions.show("ann", written), reward)
    written = functions.write("ann")
    chances = functions.generation("ann", written["generation_id"])
    likely = dict(zip(chances.versions, chances.propensity, strict=True))
    assert likely["v3-few-shot"] > 0.8 > 0.02 > likely["v1"]


@pytest.mark.long
def test_a_prior_serves_newcomers_by_what_everybody_taught(
    functions: Functions, capsys: pytest.CaptureFixture[str], table: LocalTable
) -> None:
    from offline.cli import main

    rng = random.Random(3)
    for number in range(12):
        user = f"user-{number}"
        for _ in range(10):
            version = rng.choice(RELEASED)
            written = functions.write(user, prompt_version=version, n=1)
            functions.react(user, functions.show(user, written), 0.6 if version == "v2-mentor" else -0.5)
    where = ["--table", table.name, "--endpoint", table.endpoint]
    assert main(["prior", "train", "--schema", "prompts-v1", "--activate", *where]) == 0, capsys.readouterr()
    chances = functions.generation("new", functions.write("new")["generation_id"])
    assert dict(zip(chances.versions, chances.propensity, strict=True))["v2-mentor"] > 0.8
    assert chances.prior is not None


def test_learning_of_which_no_belief_can_be_formed_counts_as_none(functions: Functions) -> None:
    statistics = replace(Statistics.empty(SCHEMA.dimension), xx=-np.eye(SCHEMA.dimension))  # the prior's opposite
    learned = SchemaLearning(statistics, SCHEMA.name, SCHEMA.names, 0)
    functions.client.transact([write(keys.arms("ann"), 0, UserLearning(1, schemas={SCHEMA.hash: learned}))])
    written = functions.write("ann")
    assert written["prompt_propensity"] == pytest.approx(1 / len(RELEASED))
    assert written["logged"] is True


def test_an_erased_person_is_served_and_not_remembered(functions: Functions) -> None:
    functions.write("ann")
    functions.score.call("DELETE", "/users/ann")
    written = functions.write("ann")
    assert (written["logged"], len(written["candidates"])) == (False, 3)
    assert not functions.client.keys_of(keys.generation("ann"), limit=9)


def test_what_a_person_likes_reaches_the_prompt_in_one_line(
    functions: Functions, load_function: Callable[..., LoadedFunction]
) -> None:
    for _ in range(6):
        for kind, reward in (("reminder", 1.0), ("insight", -1.0)):
            body = {"user_id": "ann", "candidates": [{"id": kind, "kind": kind, "source": "todoist"}]}
            decision = functions.score.call("POST", "/score", body).json
            functions.react("ann", decision["decision_id"], reward)
    with ModelServer() as server:
        generate = load_function("generate", LITELLM_URL=server.url)
        for user in ("ann", "ben"):
            assert generate.call("POST", "/generate", {"user_id": user}).status == 200
        asked = [read_context_block(got.body["messages"][-1]["content"]) or {} for got in server.received]
    assert asked[0]["preferences"] == "has liked reminders; has not liked insights into their day and habits"
    assert "preferences" not in asked[1]
