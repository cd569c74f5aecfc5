"""The one source of randomness: known answers, agreement of its two implementations, and the statistics it must have."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vasg import randomness
from vasg.randomness import STREAMS, at_step, below, hash64, integers, mix64, normal, permutation, sequence_key, uniform

# The first numbers of SplitMix64 from state 1234567, as published with the reference implementation (Vigna) and its tests.
SPLITMIX64_1234567 = [
    6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
]  # fmt: skip

counters = st.integers(-(2**63), 2**63 - 1)
seeds = st.integers(0, 2**63 - 1)
streams = st.sampled_from(sorted(STREAMS))


@numba.njit
def compiled_steps(key: np.uint64, steps: np.ndarray) -> np.ndarray:
    result = np.empty(steps.size, np.uint64)
    for i in range(steps.size):
        result[i] = at_step(key, steps[i])
    return result


@numba.njit
def compiled_below(z: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    result = np.empty(z.size, np.int64)
    for i in range(z.size):
        result[i] = below(z[i], bounds[i])
    return result


def test_steps_are_the_published_splitmix64_sequence() -> None:
    found = compiled_steps(np.uint64(1234567), np.arange(5, dtype=np.uint64))
    assert [int(z) for z in found] == SPLITMIX64_1234567


def test_numpy_mixes_as_the_compiled_code_does() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    with np.errstate(over="ignore"):
        plain = randomness._mix(values)
    assert np.array_equal(plain, [mix64(v) for v in values])


@given(seed=seeds, stream=streams, a=counters, b=st.integers(0, 2**40))
def test_hash64_is_a_step_of_the_sequence_of_its_key(seed: int, stream: str, a: int, b: int) -> None:
    key = np.uint64(sequence_key(seed, stream, a))
    assert int(hash64(seed, stream, a, b)) == int(compiled_steps(key, np.array([b], np.uint64))[0])


@given(seed=seeds, stream=streams, pairs=st.lists(st.tuples(counters, counters), min_size=1, max_size=20))
def test_arrays_give_what_single_numbers_give(seed: int, stream: str, pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, np.int64).T
    assert [int(z) for z in hash64(seed, stream, a, b)] == [int(hash64(seed, stream, x, y)) for x, y in pairs]
    grid = hash64(seed, stream, a[:, None], b[None, :])  # [a, b]
    assert np.array_equal(np.diagonal(grid), hash64(seed, stream, a, b))


@given(value=counters)
def test_negative_and_unsigned_forms_of_a_counter_are_the_same(value: int) -> None:
    assert hash64(1, "split", value) == hash64(1, "split", np.uint64(value & (2**64 - 1)))


@given(z=st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1)), min_size=1, max_size=20))
def test_below_stays_below_and_is_the_scaled_fraction(z: list[tuple[int, int]]) -> None:
    draws, bounds = np.array([x for x, _ in z], np.uint64), np.array([n for _, n in z], np.uint64)
    found = compiled_below(draws, bounds)
    assert [int(v) for v in found] == [((x >> 32) * n) >> 32 for x, n in z]
    assert np.all((found >= 0) & (found < bounds.astype(np.int64)))


def test_integers_use_the_same_rule_as_the_compiled_below() -> None:
    a, bounds = np.arange(500), np.arange(500) % 97 + 1
    expected = compiled_below(hash64(5, "walk_step", a, 3), bounds.astype(np.uint64))
    assert np.array_equal(integers(5, "walk_step", a, 3, bounds), expected)
    assert np.all(integers(5, "walk_step", a, 3, 1) == 0)


def chi_square(counts: np.ndarray) -> float:
    """Standardised chi-square of counts that should be equal: about a standard normal for many cells."""
    expected = counts.sum() / counts.size
    return float((((counts - expected) ** 2 / expected).sum() - counts.size) / np.sqrt(2 * counts.size))


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_numbers_are_uniform_over_either_counter(stream: str) -> None:
    for draws in (integers(3, stream, np.arange(100_000), 0, 64), integers(3, stream, 0, np.arange(100_000), 64)):
        assert abs(chi_square(np.bincount(draws, minlength=64))) < 5


def test_low_bits_and_neighbouring_steps_are_independent() -> None:
    z = hash64(0, "walk_step", np.arange(50_000)[:, None], np.arange(2)[None, :])
    assert abs(chi_square(np.bincount((z[:, 0] & np.uint64(63)).astype(int), minlength=64))) < 5
    cells = (z[:, 0] >> np.uint64(60)) * np.uint64(16) + (z[:, 1] >> np.uint64(60))
    assert abs(chi_square(np.bincount(cells.astype(int), minlength=256))) < 5


def test_seeds_and_streams_do_not_share_numbers() -> None:
    a = np.arange(20_000)
    columns = [uniform(seed, stream, a) for seed in (0, 1) for stream in STREAMS]
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 5 / np.sqrt(a.size)
    assert len(np.unique(np.concatenate([hash64(s, t, a) for s in (0, 1) for t in STREAMS]))) == len(columns) * a.size


def test_stream_numbers_are_distinct() -> None:
    assert len(set(STREAMS.values())) == len(STREAMS)


def test_uniform_and_normal_have_their_moments() -> None:
    u, z = uniform(9, "sample", np.arange(200_000)), normal(9, "sample", np.arange(200_000))
    assert np.all((u >= 0) & (u < 1))
    assert abs(u.mean() - 0.5) < 0.003
    assert abs(u.var() - 1 / 12) < 0.001
    assert np.all(np.isfinite(z))
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs(np.mean(z**3)) < 0.03
    assert abs(np.mean(z**4) - 3) < 0.1


@given(seed=seeds, a=counters, n=st.integers(0, 200))
def test_a_permutation_holds_every_number_once(seed: int, a: int, n: int) -> None:
    order = permutation(seed, "epoch_order", a, n)
    assert np.array_equal(np.sort(order), np.arange(n))
    assert np.array_equal(order, permutation(seed, "epoch_order", a, n))


def test_permutations_of_other_counters_differ_and_every_place_is_equally_likely() -> None:
    orders = np.array([permutation(1, "epoch_order", a, 8) for a in range(8000)])
    assert len(np.unique(orders, axis=0)) > 5000
    assert abs(chi_square(np.bincount(orders[:, 0], minlength=8))) < 5
    assert abs(chi_square(np.bincount(orders[:, 7], minlength=8))) < 5
