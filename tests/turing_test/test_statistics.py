"""The study's numbers against sums written out, tables, and simulated people whose accuracy is known."""

import math

import numpy as np
import pytest
from scipy import stats

from igan_tf.turing_test import statistics
from igan_tf.turing_test.statistics import (
    accuracy,
    balanced_accuracy,
    d_prime,
    estimate,
    generated_error,
    real_error,
    required_votes,
    wilson_interval,
)

# Computed with exact binomials or scipy; equal up to the rounding of a few operations.
CLOSE = 1e-12


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (3, 10), (1048, 2000), (1, 1), (499, 1000)])
def test_wilson_against_scipy(successes, total):
    expected = stats.binomtest(successes, total).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(successes, total)
    assert abs(low - expected.low) < CLOSE and abs(high - expected.high) < CLOSE


def test_wilson_solves_its_equation():
    """Its ends are the p for which (successes / n - p)^2 = z^2 p (1 - p) / n."""
    z = 1.959963984540054
    for successes, total in [(1, 7), (30, 40), (977, 1000)]:
        for p in wilson_interval(successes, total):
            assert abs((successes / total - p) ** 2 - z**2 * p * (1 - p) / total) < CLOSE


def test_wilson_takes_arrays_and_knows_nothing_of_nothing():
    low, high = wilson_interval([0, 5], [0, 10])
    assert (low[0], high[0]) == (0, 1) and low.shape == (2,)
    assert wilson_interval(0, 9)[0] == 0 and wilson_interval(9, 9)[1] == 1


@pytest.mark.parametrize(("successes", "total"), [(-1, 5), (6, 5), (math.nan, 5)])
def test_wilson_refuses(successes, total):
    with pytest.raises(ValueError, match=r"`successes` must be from 0 to `total`. Received: successes="):
        wilson_interval(successes, total)


@pytest.mark.parametrize("width", [0.5, 0.1, 0.05, 0.0437, 0.01])
def test_required_votes_is_the_least_that_does(width):
    votes = required_votes(width)

    def widest(total):
        low, high = wilson_interval(np.arange(total + 1), total)
        return (high - low).max()

    # With an odd number of votes no accuracy is exactly one half, where the interval is widest: the formula's half
    # is a bound that these come near.
    z = 1.959963984540054
    assert widest(votes) <= width + CLOSE
    assert z / math.sqrt(votes - 1 + z**2) > width


@pytest.mark.parametrize("width", [0, -0.1, 1.01, math.nan])
def test_required_votes_refuses(width):
    with pytest.raises(ValueError, match=f"`width` must be above 0 and at most 1. Received: width={width}"):
        required_votes(width)


def test_rates_by_hand():
    counts = np.array([8, 10, 3, 12])
    assert accuracy(counts) == 11 / 22
    assert abs(balanced_accuracy(counts) - (0.8 + 0.25) / 2) < CLOSE
    assert generated_error(counts) == 0.75 and abs(real_error(counts) - 0.2) < CLOSE
    # Seen or not, a kind without images has no rate.
    assert np.isnan(generated_error(np.array([8, 10, 0, 0]))) and np.isnan(balanced_accuracy(np.array([8, 10, 0, 0])))
    assert np.isnan(d_prime(np.array([0, 0, 3, 12]))) and np.isnan(accuracy(np.zeros(4)))


def test_d_prime_by_hand():
    # Hits 40 of 50, false alarms 10 of 50, with the log-linear correction.
    expected = stats.norm.ppf(40.5 / 51) - stats.norm.ppf(10.5 / 51)
    assert abs(d_prime(np.array([40, 50, 40, 50])) - expected) < CLOSE
    assert d_prime(np.array([25, 50, 25, 50])) == 0
    # Someone who always says "generated" sees nothing, whatever the accuracy says.
    assert abs(d_prime(np.array([0, 50, 50, 50]))) < CLOSE
    assert np.isfinite(d_prime(np.array([50, 50, 50, 50])))


def test_d_prime_of_an_ideal_observer():
    """Evidence N(0, 1) for real and N(1.5, 1) for generated images, whatever the criterion, gives 1.5."""
    total = 10**7
    for criterion in (0.0, 0.75, 2.0):
        hits, false_alarms = stats.norm.sf(criterion - 1.5), stats.norm.sf(criterion)
        counts = np.array([total * (1 - false_alarms), total, total * hits, total])
        assert abs(d_prime(counts) - 1.5) < 1e-4


def people(generator, accuracies, votes):
    """Counts of people who are right with their probabilities on `votes` images, half of them real."""
    half = votes // 2
    correct = generator.binomial(half, np.asarray(accuracies)[:, None], (len(accuracies), 2))
    return np.stack([correct[:, 0], np.full(len(correct), half), correct[:, 1], np.full(len(correct), half)], axis=1)


def test_the_bootstrap_error_of_a_mean_is_known():
    """With equal numbers of votes accuracy is a mean over people: its bootstrap error is std / sqrt(A)."""
    counts = people(np.random.default_rng(0), np.linspace(0.4, 0.9, 30), 100)
    expected = (counts[:, [0, 2]].sum(axis=1) / 100).std() / math.sqrt(30)
    # Two per cent: 4,000 draws know a standard deviation to 1 / sqrt(8000).
    assert abs(statistics.bootstrap_error(accuracy, counts) / expected - 1) < 0.05


def test_the_bootstrap_draws_people_and_not_votes():
    """Thirty people half of whom are always right are no 3,000 independent votes."""
    counts = people(np.random.default_rng(0), [1.0] * 15 + [0.0] * 15, 100)
    found = estimate(accuracy, counts)
    low, high = wilson_interval(1500, 3000)
    assert found.method == "bootstrap over annotators"
    assert found.high - found.low > 8 * (high - low)


def test_an_estimate_is_a_function_of_counts_and_seed():
    counts = people(np.random.default_rng(0), np.linspace(0.4, 0.9, 7), 50)
    assert estimate(accuracy, counts) == estimate(accuracy, counts)
    assert estimate(accuracy, counts) != estimate(accuracy, counts, seed=1)


@pytest.mark.parametrize("statistic", [accuracy, balanced_accuracy, generated_error, real_error, d_prime])
def test_one_annotator_gives_an_interval_of_votes(statistic):
    found = estimate(statistic, np.array([[40, 50, 30, 50]]))
    assert found.method == "votes as independent"
    assert found.low < found.value < found.high
    if statistic is accuracy:
        assert (found.low, found.high) == wilson_interval(70, 100)
    if statistic is generated_error:
        assert (found.low, found.high) == wilson_interval(20, 50)


def test_people_who_are_all_alike_do_not_give_an_interval_of_no_width():
    found = estimate(accuracy, np.array([[50, 50, 50, 50]] * 5))
    assert found.value == found.high == 1 and found.low < 1 and found.method == "votes as independent"


def test_no_votes():
    for counts in (np.zeros((0, 4)), np.zeros((3, 4))):
        found = estimate(accuracy, counts)
        assert math.isnan(found.value) and math.isnan(found.low) and found.method == "no votes"


def test_people_without_votes_are_left_out():
    counts = people(np.random.default_rng(0), [0.6, 0.7, 0.8], 50)
    assert estimate(accuracy, np.concatenate([counts, np.zeros((4, 4), int)])) == estimate(accuracy, counts)


@pytest.mark.parametrize("statistic", [accuracy, generated_error, real_error, balanced_accuracy])
def test_intervals_of_rates_stay_in_range(statistic):
    counts = people(np.random.default_rng(1), [0.99, 1.0, 0.97], 40)
    found = estimate(statistic, counts)
    assert 0 <= found.low <= found.value <= found.high <= 1


# Coverage: how often the interval holds the truth, in simulated studies. `at_least` is the number of covering studies
# of which a true coverage of 95% stays short once in a thousand.


# Draws of the bootstrap: its error is known to three per cent then, which is enough to tell coverages apart.
DRAWS = 500


def at_least(studies):
    return stats.binom.ppf(0.001, studies, 0.95)


@pytest.mark.parametrize("truth", [0.5, 0.524, 0.787, 0.95])
def test_the_interval_of_one_annotator_covers_a_known_accuracy(truth):
    generator = np.random.default_rng(2016)
    covered = 0
    for _ in range(1000):
        found = estimate(accuracy, people(generator, [truth], 200))
        covered += found.low <= truth <= found.high
    assert covered >= at_least(1000)


@pytest.mark.parametrize("annotators", [5, 20])
@pytest.mark.parametrize(("mean", "spread"), [(0.524, 0.02), (0.787, 0.08)])
def test_the_interval_of_a_study_covers_the_accuracy_of_all_people(annotators, mean, spread):
    """People's accuracies are normal about the mean; the truth is the mean, of people who were never asked."""
    generator = np.random.default_rng(2016)
    covered = 0
    for study in range(400):
        accuracies = np.clip(generator.normal(mean, spread, annotators), 0, 1)
        found = estimate(accuracy, people(generator, accuracies, 100), study, DRAWS)
        covered += found.low <= mean <= found.high
    assert covered >= at_least(400)


@pytest.mark.parametrize("statistic", [accuracy, generated_error])
@pytest.mark.parametrize("votes", [[100] * 4 + [4] * 16, [100] * 3 + [10] * 12])
def test_the_interval_covers_where_many_leave_early(votes, statistic):
    """The few who went to the end decide, and those who left are not as many people more."""
    generator = np.random.default_rng(2016)
    covered = 0
    for study in range(400):
        accuracies = np.clip(generator.normal(0.7, 0.1, len(votes)), 0, 1)
        counts = np.concatenate([people(generator, [p], n) for p, n in zip(accuracies, votes)])
        found = estimate(statistic, counts, study, DRAWS)
        covered += found.low <= (0.7 if statistic is accuracy else 0.3) <= found.high
    assert covered >= at_least(400)


def test_who_cannot_tell_has_accuracy_one_half_whatever_they_like_to_say():
    """Four of five answers "real": the error on generated images alone is no measure of whether images deceive."""
    counts = np.array([800, 1000, 200, 1000])
    assert accuracy(counts) == 0.5 and abs(d_prime(counts)) < CLOSE and generated_error(counts) == 0.8


@pytest.mark.parametrize("annotators", [1, 10])
def test_the_interval_covers_a_known_d_prime(annotators):
    generator = np.random.default_rng(2016)
    truth, covered = 1.0, 0
    hit, false_alarm = stats.norm.sf(0.5 - truth), stats.norm.sf(0.5)
    for study in range(400):
        hits = generator.binomial(100, hit, annotators)
        rejections = generator.binomial(100, 1 - false_alarm, annotators)
        counts = np.stack([rejections, np.full(annotators, 100), hits, np.full(annotators, 100)], axis=1)
        found = estimate(d_prime, counts, study, DRAWS)
        covered += found.low <= truth <= found.high
    assert covered >= at_least(400)


@pytest.mark.parametrize("seen_by", [2, 3, 5])
@pytest.mark.parametrize("statistic", [statistics.generated_error, statistics.d_prime, statistics.balanced_accuracy])
def test_who_saw_none_of_a_kind_is_not_one_more_person(statistic, seen_by):
    """Three of twenty people who saw the source say as much of it as those three alone."""
    generator = np.random.default_rng(0)
    seen = np.column_stack(
        [
            generator.integers(5, 10, seen_by),
            np.full(seen_by, 10),
            generator.integers(3, 9, seen_by),
            np.full(seen_by, 10),
        ]
    )
    unseen = np.zeros((20 - seen_by, 4))
    if statistic is statistics.generated_error:
        # They saw real images alone, which say nothing of generated ones.
        unseen[:, 0], unseen[:, 1] = 7, 10
    alone = statistics.estimate(statistic, seen)
    together = statistics.estimate(statistic, np.concatenate([seen, unseen]))
    assert together.value == pytest.approx(alone.value)
    # Two bootstraps of different draws: within a few per cent of each other, where the interval of twenty people
    # would be less than half as wide.
    assert together.high - together.low > 0.7 * (alone.high - alone.low)
