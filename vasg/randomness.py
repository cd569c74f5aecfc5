"""The one source of randomness: a counter-based hash, the same on every machine and for any partitioning.

``hash64(seed, stream, a, b)`` is a pure function of its arguments, so a retried task, another number of partitions or
another strategy draws the same numbers. The mixing function is SplitMix64's finalizer (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014); ``b`` is the position in the SplitMix64 sequence whose state
is the key of ``(seed, stream, a)``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vasg.machine.compiled import njit, vectorize

# One number per purpose, so that two purposes never share random numbers. Never renumber: results would change.
STREAMS = {
    "walk_step": 1,
    "walk_order": 2,
    "split": 3,
    "holdout": 4,
    "initialisation": 5,
    "negatives": 6,
    "epoch_order": 7,
    "decoder_sample": 8,
    "dropout": 9,
    "feature_noise": 10,  # no longer drawn from
    "ties": 11,
    "bootstrap": 12,
    "demo": 13,
    "random_model": 14,
    "mapping_order": 15,
    "sample": 16,
    "bpr": 17,
    "report": 18,
    "relations": 19,
    "projection": 20,
    "linear_relation": 21,
    "cosine_density": 22,
    "mapping_held_out": 23,
    "lane_offset": 24,
    "collapse": 25,
    "picture_sample": 26,
}

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # of a sequence, from one state to the next


@njit(inline="always")
def mix64(z: Any) -> Any:
    """SplitMix64's finalizer: a bijection of 64-bit integers in which every input bit moves every output bit."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


_mix: Any = mix64.py_func  # of numpy scalars and arrays


@njit(inline="always")
def at_step(key: Any, step: Any) -> Any:
    """The ``step``-th number (from 0) of the sequence with this key; ``key`` and ``step`` are uint64."""
    return mix64(key + (step + np.uint64(1)) * GOLDEN)


@njit(inline="always")
def below(z: Any, bound: Any) -> Any:
    """Map a random uint64 to [0, bound), bound < 2**32, by multiply and shift (Lemire 2019); bias below 2**-32 x bound."""
    return ((z >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)


def stream_key(seed: int, stream: str) -> np.uint64:
    """The key of all numbers of one purpose under one seed."""
    with np.errstate(over="ignore"):
        return np.uint64(_mix(_mix(_wrap(seed)) + GOLDEN * np.uint64(STREAMS[stream])))


def sequence_key(seed: int, stream: str, a: Any) -> Any:
    """The key of the sequence that belongs to ``a`` (int or integer array): feed it to ``at_step``."""
    with np.errstate(over="ignore"):
        return _mix(stream_key(seed, stream) + _wrap(a) * GOLDEN)


def hash64(seed: int, stream: str, a: Any, b: Any = 0) -> Any:
    """Random uint64 for counters ``a`` and ``b`` (ints or integer arrays, broadcast together)."""
    with np.errstate(over="ignore"):
        return _mix(sequence_key(seed, stream, a) + (_wrap(b) + np.uint64(1)) * GOLDEN)


def integers(seed: int, stream: str, a: Any, b: Any, bound: Any) -> Any:
    """Uniform int64 in [0, bound), bound < 2**32 (int or array), for counters ``a`` and ``b``."""
    with np.errstate(over="ignore"):
        return below.py_func(hash64(seed, stream, a, b), _wrap(bound)).astype(np.int64)


def uniform(seed: int, stream: str, a: Any, b: Any = 0) -> Any:
    """Uniform float64 in [0, 1), 53 random bits."""
    return (hash64(seed, stream, a, b) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed: int, stream: str, a: Any, b: Any = 0) -> Any:
    """Standard normal float64 by the Box-Muller transform of the numbers at ``2b`` and ``2b + 1``."""
    return _normal(sequence_key(seed, stream, a), _wrap(b))


@vectorize(cache=True)  # type: ignore[no-untyped-call, untyped-decorator]
def _normal(key: Any, b: Any) -> Any:
    one, other = at_step(key, np.uint64(2) * b), at_step(key, np.uint64(2) * b + np.uint64(1))
    radius = np.sqrt(-2.0 * np.log1p(-np.float64(one >> np.uint64(11)) * 2.0**-53))
    return radius * np.cos(2.0 * np.pi * np.float64(other >> np.uint64(11)) * 2.0**-53)


def seed_of_32_bits(seed: int) -> int:
    """What a library that draws by itself takes as its seed: 32 bits."""
    return seed % 2**32


def permutation(seed: int, stream: str, a: int, n: int) -> NDArray[np.int64]:
    """A permutation of [0, n) that belongs to the counter ``a``."""
    return np.argsort(hash64(seed, stream, a, np.arange(n)), kind="stable").astype(np.int64)


def _wrap(value: Any) -> Any:
    """Integers of any sign and width as uint64, modulo 2**64."""
    if isinstance(value, int):
        return np.uint64(value & 0xFFFFFFFFFFFFFFFF)
    value = np.asarray(value)
    return value.astype(np.uint64) if value.dtype != np.uint64 else value
