"""When a bin is cleared, called short or over, or left to a person."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bintally.domain.counts import CountDistribution
from bintally.domain.verdicts import Decision, Policy, decide

MATCH, SHORT, OVER, REVIEW = Decision.MATCH, Decision.SHORT, Decision.OVER, Decision.REVIEW

weights = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12).filter(lambda values: sum(values) > 0.01)
# A power makes some of them as sure as a good model is.
distributions = st.builds(
    lambda values, power: CountDistribution(np.array(values) ** power / (np.array(values) ** power).sum()),
    weights.filter(lambda values: max(values) > 0.3),
    st.sampled_from([1, 4, 16]),
)
thresholds = st.floats(0.501, 1.0)
policies = st.builds(lambda clear, flag: Policy(clear_at=clear, flag_at=flag), thresholds, thresholds)
expectations = st.integers(0, 20)


@pytest.mark.parametrize(
    ("probabilities", "expected", "decision", "reason"),
    [
        pytest.param([0.0, 0.02, 0.95, 0.03], 2, MATCH, "95% sure that 2 are there", id="match"),
        pytest.param([0.95, 0.05, 0.0, 0.0], 0, MATCH, "95% sure that 0 are there", id="empty as expected"),
        pytest.param([0.0, 0.4, 0.6, 0.0], 2, MATCH, "60% sure", id="match at the threshold"),
        pytest.param([0.0, 0.41, 0.59, 0.0], 2, REVIEW, "unsure: 59% for 2, 41% for fewer, 0% for more", id="unsure"),
        pytest.param([0.0, 0.95, 0.05, 0.0], 2, SHORT, "95% sure of fewer than 2", id="short"),
        pytest.param([0.4, 0.55, 0.05, 0.0], 2, SHORT, "95% sure of fewer than 2", id="short by one or two"),
        pytest.param([0.0, 0.05, 0.95, 0.0], 1, OVER, "95% sure of more than 1", id="over"),
        pytest.param([0.05, 0.0, 0.0, 0.95], 0, OVER, "95% sure of more than 0", id="over on K or more"),
        pytest.param([0.0, 0.0, 0.05, 0.95], 3, REVIEW, "3 expected, and the model tells no counts from 3", id="K"),
        pytest.param(
            [0.0, 0.0, 0.05, 0.95], 7, REVIEW, "7 expected, and the model tells no counts from 3", id="above K"
        ),
        pytest.param([0.05, 0.9, 0.05, 0.0], 7, SHORT, "100% sure of fewer than 7", id="surely short of above K"),
        pytest.param([0.45, 0.1, 0.45, 0.0], 1, REVIEW, "unsure", id="fewer or more, surely not equal"),
    ],
)
def test_decide(probabilities: list[float], expected: int, decision: Decision, reason: str):
    verdict = decide(CountDistribution(probabilities), expected, Policy(clear_at=0.6, flag_at=0.9))
    assert verdict.decision is decision
    assert reason in verdict.reason
    assert verdict.expected == expected
    assert verdict.p_match == (pytest.approx(probabilities[expected]) if expected < len(probabilities) - 1 else 0.0)


@pytest.mark.parametrize(
    ("known_counts", "expected", "decision"),
    [
        pytest.param((1, 5), 0, REVIEW, id="below what is known"),
        pytest.param((1, 5), 1, OVER, id="lowest known"),
        pytest.param((1, 5), 2, MATCH, id="known"),
        pytest.param((1, 5), 5, SHORT, id="highest known"),
        pytest.param((1, 5), 6, REVIEW, id="above what is known"),
        pytest.param((0, None), 99, SHORT, id="no upper end"),
    ],
)
def test_nothing_is_decided_outside_the_counts_a_model_knows(
    known_counts: tuple[int, int | None], expected: int, decision: Decision
):
    surely_two = CountDistribution([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    verdict = decide(surely_two, expected, known_counts=known_counts)
    assert verdict.decision is decision
    if decision is REVIEW:
        assert f"the model knows only counts 1-5; {expected} expected" in verdict.reason


def test_a_stricter_policy_sends_more_to_people():
    distribution = CountDistribution([0.0, 0.1, 0.8, 0.1])
    assert decide(distribution, 2, Policy(clear_at=0.7)).decision is MATCH
    assert decide(distribution, 2, Policy(clear_at=0.9)).decision is REVIEW
    assert decide(distribution, 3, Policy(flag_at=0.85)).decision is SHORT
    assert decide(distribution, 3, Policy(flag_at=0.95)).decision is REVIEW


def test_a_negative_expectation_is_refused():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        decide(CountDistribution([0.5, 0.5]), -1)


@pytest.mark.parametrize("name", ["clear_at", "flag_at"])
@pytest.mark.parametrize("value", [0.5, 0.0, -1.0, 1.01, float("nan")])
def test_a_policy_under_which_two_decisions_could_hold_is_refused(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}: expected more than 0.5 and at most 1"):
        Policy(**{name: value})


@given(distributions, policies, st.integers(0, 5))
def test_k_or_more_never_clears_a_bin(distribution: CountDistribution, policy: Policy, above: int):
    assert decide(distribution, distribution.last_count + above, policy).decision in (SHORT, REVIEW)


@given(distributions, expectations, policies)
def test_at_most_one_decision_holds_and_it_is_the_one_made(
    distribution: CountDistribution, expected: int, policy: Policy
):
    holds = {
        MATCH: distribution.probability_of(expected) >= policy.clear_at,
        SHORT: distribution.probability_below(expected) >= policy.flag_at,
        OVER: distribution.probability_above(expected) >= policy.flag_at,
    }
    holding = [decision for decision, true in holds.items() if true]
    assert len(holding) <= 1
    assert decide(distribution, expected, policy).decision is (holding[0] if holding else REVIEW)


@given(distributions, expectations, policies)
def test_a_verdict_gives_a_reason_and_its_probability(distribution: CountDistribution, expected: int, policy: Policy):
    verdict = decide(distribution, expected, policy)
    assert verdict.reason
    assert verdict.p_match == distribution.probability_of(expected)
    assert (verdict.decision is MATCH) == (verdict.p_match >= policy.clear_at)
