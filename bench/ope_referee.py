"""What Open Bandit Pipeline makes of logs: run by `bench.ope` and the tests with the Python of .venv-obp.

    python ope_referee.py digits|obd RUNS FOLDER    logs and estimates of so many runs
    python ope_referee.py given FILE FOLDER         estimates for given logs

Of each run one line goes to stdout: a JSON object with the true value, obp's estimates and the file that holds the
logs (action, reward, pscore, action_dist, expected; the last two (n, k), at the position of the round). Settings are
those of obp's own examples (examples/multiclass, examples/obd) behind the tables that they publish. Nothing of ours is
imported.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402

SEED = 12345
LAMBDAS = [10, 50, 100, 500, 1000, 5000, 10000, math.inf]
LOGISTIC = {"max_iter": 10000, "C": 100, "random_state": SEED}
FOREST = {"n_estimators": 30, "max_depth": 5, "min_samples_leaf": 10, "random_state": SEED}
BOOSTING = {"n_estimators": 30, "learning_rate": 0.01, "max_depth": 5, "min_samples_leaf": 10, "random_state": SEED}

dataset: Any = import_module("obp.dataset")
ope: Any = import_module("obp.ope")


def estimators() -> dict[str, Any]:
    return {
        "dm": ope.DirectMethod(),
        "ips": ope.InverseProbabilityWeighting(),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dr": ope.DoublyRobust(),
        "sndr": ope.SelfNormalizedDoublyRobust(),
        "dros": ope.DoublyRobustWithShrinkageTuning(lambdas=LAMBDAS),
        "dros, lambda 100": ope.DoublyRobustWithShrinkage(lambda_=100.0),
    }


def tell(folder: Path, run: int, truth: float, logs: dict[str, Any]) -> None:
    """Estimate, and keep what was estimated from. logs: action_dist and expected are (n, k, positions)."""
    rows = np.arange(len(logs["action"]))
    position = logs.pop("position", None)
    position = np.zeros(len(rows), dtype=int) if position is None else position
    given = {
        "reward": logs["reward"],
        "action": logs["action"],
        "pscore": logs["pscore"],
        "action_dist": logs["action_dist"],
        "estimated_rewards_by_reg_model": logs["expected"],
        "position": position,
    }
    values, tuned = {}, None
    for name, estimator in estimators().items():
        values[name] = float(estimator.estimate_policy_value(**given))
        if name == "dros":
            tuned = float(estimator.best_hyperparam)
    file = folder / f"run-{run}.npz"
    np.savez(
        file,
        action=logs["action"],
        reward=logs["reward"],
        pscore=logs["pscore"],
        action_dist=logs["action_dist"][rows, :, position],
        expected=logs["expected"][rows, :, position],
    )
    answer = {"run": run, "truth": truth, "estimates": values, "lambda": tuned, "file": str(file)}
    print(json.dumps(answer), flush=True)


def digits(runs: int, folder: Path) -> None:
    """Classification as a bandit, behaviour a logistic regression, evaluated a random forest (alpha 0.4 and 0.9)."""
    ensemble = import_module("sklearn.ensemble")
    logistic = import_module("sklearn.linear_model").LogisticRegression
    X, y = import_module("sklearn.datasets").load_digits(return_X_y=True)
    np.random.seed(SEED)
    bandit = dataset.MultiClassToBanditReduction(
        X=X, y=y, base_classifier_b=logistic(**LOGISTIC), alpha_b=0.4, dataset_name="digits"
    )
    for run in range(runs):
        bandit.split_train_eval(eval_size=0.7, random_state=run)
        feedback = bandit.obtain_batch_bandit_feedback(random_state=run)
        action_dist = bandit.obtain_action_dist_by_eval_policy(
            base_classifier_e=ensemble.RandomForestClassifier(**FOREST), alpha_e=0.9
        )
        model = ope.RegressionModel(
            n_actions=bandit.n_actions, base_model=ensemble.GradientBoostingClassifier(**BOOSTING)
        )
        named = {name: feedback[name] for name in ("context", "action", "reward")}
        logs = {name: feedback[name] for name in ("action", "reward", "pscore")}
        logs["expected"] = model.fit_predict(**named, n_folds=3, random_state=SEED)
        logs["action_dist"] = action_dist
        tell(folder, run, float(bandit.calc_ground_truth_policy_value(action_dist=action_dist)), logs)


def obd(runs: int, folder: Path) -> None:
    """Bootstraps of the sample of the Open Bandit Dataset inside obp: random -> Bernoulli TS, all campaigns."""
    logistic = import_module("sklearn.linear_model").LogisticRegression
    policy_type = import_module("obp.policy").BernoulliTS
    np.random.seed(SEED)
    bandit = dataset.OpenBanditDataset(behavior_policy="random", campaign="all")
    policy = policy_type(
        n_actions=bandit.n_actions,
        len_list=bandit.len_list,
        random_state=SEED,
        is_zozotown_prior=True,
        campaign="all",
    )
    single = policy.compute_batch_action_dist(n_sim=100_000)
    truth = float(dataset.OpenBanditDataset.calc_on_policy_policy_value_estimate(behavior_policy="bts", campaign="all"))
    for run in range(runs):
        feedback = bandit.sample_bootstrap_bandit_feedback(random_state=run)
        model = ope.RegressionModel(
            n_actions=bandit.n_actions,
            len_list=bandit.len_list,
            action_context=bandit.action_context,
            base_model=logistic(**LOGISTIC),
        )
        named = {name: feedback[name] for name in ("context", "action", "reward", "position", "pscore")}
        logs = {name: feedback[name] for name in ("action", "reward", "pscore", "position")}
        logs["expected"] = model.fit_predict(**named, n_folds=3, random_state=SEED)
        logs["action_dist"] = np.tile(single, (feedback["n_rounds"], 1, 1))
        tell(folder, run, truth, logs)


def given(file: Path, folder: Path) -> None:
    """Estimate from given logs: any number of runs, each with a name `NUMBER/array`; arrays as `tell` writes them."""
    with np.load(file) as arrays:
        for run in sorted({int(name.partition("/")[0]) for name in arrays}):
            names = ("action", "reward", "pscore", "action_dist", "expected")
            logs = {name: arrays[f"{run}/{name}"] for name in names}
            logs["action_dist"], logs["expected"] = (logs[name][:, :, None] for name in names[3:])
            tell(folder, run, math.nan, logs)


if __name__ == "__main__":
    what, amount, into = sys.argv[1:]
    if what == "given":
        given(Path(amount), Path(into))
    else:
        {"digits": digits, "obd": obd}[what](int(amount), Path(into))
