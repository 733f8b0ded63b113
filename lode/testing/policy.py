"""The contract suite of policies: `check_policy(make)` for each file in lode/value/policies, and for others.

Read `lode.value.contracts.Policy` first: every check below is one of its sentences.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from lode.value.contracts import Outcomes, Policy


def check_policy(make: Callable[[], Policy]) -> None:
    """Everything below. make: an unfitted policy; money columns that it names are made up."""
    check_money_is_whole_numbers(make)
    check_rows_are_valued_alone(make)
    check_fitting_pays(make)
    check_actions_do_not_depend_on_the_batch(make)
    check_state_survives_json(make)
    check_simple_policies(make)


def sample(policy: Policy, num_rows: int = 300, seed: int = 0) -> Outcomes:
    """Predictions that know something, outcomes, and an amount in every column that the policy names."""
    generator = np.random.default_rng(seed)
    cents = generator.integers(-5000, 9000, (num_rows, len(policy.columns)))
    columns = {
        name: np.array([Decimal(int(value)).scaleb(-2) for value in cents[:, place]], dtype=object)
        for place, name in enumerate(policy.columns)
    }
    if policy.task == "number":
        truth = generator.gamma(3.0, 20.0, num_rows)
        return Outcomes(truth + generator.normal(0, 5, num_rows), truth, columns)
    prediction = generator.integers(0, 50, num_rows) / 49
    return Outcomes(prediction, (generator.random(num_rows) < prediction).astype(np.int64), columns)


def take(outcomes: Outcomes, index: np.ndarray) -> Outcomes:
    """The rows at `index`."""
    columns = {name: column[index] for name, column in outcomes.columns.items()}
    return Outcomes(outcomes.prediction[index], outcomes.truth[index], columns)


def check_money_is_whole_numbers(make: Callable[[], Policy]) -> None:
    """`worth` gives int64 or Python integers, in units of 10^-scale; never floats."""
    policy = make()
    outcomes = sample(policy)
    policy.fit(outcomes)
    money = policy.worth(policy.act(outcomes.prediction), outcomes)
    assert money.shape == outcomes.truth.shape and policy.scale >= 0
    assert money.dtype == np.int64 or all(isinstance(value, int) for value in money.tolist())


def check_rows_are_valued_alone(make: Callable[[], Policy]) -> None:
    """A row's money does not depend on the rows beside it."""
    policy = make()
    outcomes = sample(policy)
    policy.fit(outcomes)
    action = policy.act(outcomes.prediction)
    money = policy.worth(action, outcomes).tolist()
    for row in (0, 17, 299):
        one = np.array([row])
        assert policy.worth(action[one], take(outcomes, one)).tolist() == [money[row]]


def check_fitting_pays(make: Callable[[], Policy]) -> None:
    """On the rows that it was fitted on, a policy with good predictions earns at least what the simple ones earn."""
    policy = make()
    outcomes = sample(policy)
    policy.fit(outcomes)
    earned = sum(policy.worth(policy.act(outcomes.prediction), outcomes).tolist())
    for name, action in policy.simple(outcomes).items():
        assert earned >= sum(policy.worth(action, outcomes).tolist()), f'"{name}" earns more on the rows of the fit'


def check_actions_do_not_depend_on_the_batch(make: Callable[[], Policy]) -> None:
    """One row at a time gives what all rows give at once."""
    policy = make()
    outcomes = sample(policy)
    policy.fit(outcomes)
    whole = policy.act(outcomes.prediction)
    parts = np.concatenate([policy.act(outcomes.prediction[row : row + 1]) for row in range(len(whole))])
    assert whole.dtype == parts.dtype == (np.float64 if policy.task == "number" else np.int64)
    assert np.array_equal(whole, parts)


def check_state_survives_json(make: Callable[[], Policy]) -> None:
    """A policy that took over the state acts alike, bit for bit."""
    policy, other = make(), make()
    outcomes = sample(policy)
    policy.fit(outcomes)
    other.restore(json.loads(json.dumps(policy.state())))
    assert np.array_equal(other.act(outcomes.prediction), policy.act(outcomes.prediction))
    assert other.state() == policy.state() and other.scale == policy.scale
    for name, action in policy.simple(outcomes).items():
        assert np.array_equal(other.simple(outcomes)[name], action)


def check_simple_policies(make: Callable[[], Policy]) -> None:
    """There is something simple to beat: one action a row."""
    policy = make()
    outcomes = sample(policy)
    policy.fit(outcomes)
    simple = policy.simple(outcomes)
    assert simple and all(action.shape == outcomes.truth.shape for action in simple.values())
