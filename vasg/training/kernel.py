"""The Skip-Gram losses and gradients of ``vasg.training.loss`` compiled for a CPU: one walk at a time, in the cache.

A walk's rows are gathered once; its scores within the window are inner products of rows in the L1 cache, those with its
negatives small matrix products. Only a node's own row of the gradient is written back.
"""

from typing import Any

import numba
import numpy as np

_FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}
_FACTORS = 64  # between 1 and 2 each, whose product is far from overflow
_LANES = 16  # rows are padded to a multiple of this, so that loops over them are whole vectors


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def skip_gram(
    rows: Any, walks: Any, negatives: Any, is_product: Any, radius: int, product_weight: Any, negative_weight: Any,
    gradient: Any, sums: Any,
) -> None:  # fmt: skip
    """Add the gradient of a batch to ``gradient`` [n, D + 2] and its sums to ``sums`` [4], both zero at first.

    ``rows`` [n, D + 1] float32, the last column the bias; ``walks`` [B, L] and ``negatives`` [B, 2K] int64 indices into
    rows (K = 0: none). The last column of ``gradient`` receives the pairs in which a row is the center; ``sums`` are
    the loss of user centers, that of product centers, and the pairs of either.
    """
    count, length = walks.shape
    dim, size = rows.shape[1] - 1, negatives.shape[1]
    padded = (dim + _LANES - 1) // _LANES * _LANES
    own, back = np.zeros((length, padded), np.float32), np.empty((length, padded), np.float32)
    bias, bias_back, loss = np.empty(length, np.float32), np.empty(length, np.float32), np.empty(length, np.float32)
    other, other_back = np.zeros((size, padded), np.float32), np.empty((size, padded), np.float32)
    other_bias, other_bias_back = np.empty(size, np.float32), np.empty(size, np.float32)
    side, weight, pairs = np.empty(length, np.int64), np.empty(length, np.float32), np.empty((length, 2), np.float32)
    noise, near = np.empty((length, size), np.float32), np.zeros((length, 2 * radius), np.float32)
    buffer = np.empty(max(noise.size, near.size), np.float32), np.empty(max(noise.size, near.size), np.int32)
    for b in range(count):
        walk = walks[b]
        _take(rows, walk, own, bias)
        for i in range(length):
            side[i] = 1 if is_product[walk[i]] else 0
            weight[i] = product_weight if is_product[walk[i]] else np.float32(1.0)
        _count_pairs(side, radius, pairs)
        bias_back[:], loss[:] = np.float32(0.0), np.float32(0.0)
        if size:
            _take(rows, negatives[b], other, other_bias)
            _learn_negatives(
                own, other, other_bias, pairs, weight, negative_weight, noise, buffer, back, other_back, other_bias_back, loss
            )  # fmt: skip
            _give(gradient, negatives[b], other_back, other_bias_back)
        else:
            back[:] = np.float32(0.0)
        _learn_window(own, bias, radius, weight, near, buffer, back, bias_back, loss)
        _give(gradient, walk, back, bias_back)
        for i in range(length):
            found = pairs[i, 0] + pairs[i, 1]
            gradient[walk[i], dim + 1] += found
            sums[side[i]] += loss[i]
            sums[2 + side[i]] += found


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _take(rows: Any, nodes: Any, own: Any, bias: Any) -> None:
    """Rows of ``nodes`` [n] to ``own`` [n, padded] and ``bias`` [n]."""
    dim = rows.shape[1] - 1
    for i in range(nodes.size):
        v = nodes[i]
        for d in range(dim):  # a loop is vectors, where a slice is a call
            own[i, d] = rows[v, d]
        bias[i] = rows[v, dim]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _give(gradient: Any, nodes: Any, back: Any, bias_back: Any) -> None:
    """Add ``back`` [n, padded] and ``bias_back`` [n] to the gradient of ``nodes`` [n]."""
    dim = gradient.shape[1] - 2
    for i in range(nodes.size):
        v = nodes[i]
        for d in range(dim):
            gradient[v, d] += back[i, d]
        gradient[v, dim] += bias_back[i]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _count_pairs(side: Any, radius: int, pairs: Any) -> None:
    """``pairs`` [L, 2]: how many contexts of either type each center has."""
    length = side.size
    pairs[:] = np.float32(0.0)
    for i in range(length):
        for j in range(max(0, i - radius), min(length, i + radius + 1)):
            if j != i:
                pairs[i, side[j]] += np.float32(1.0)


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _learn_negatives(
    own: Any, other: Any, other_bias: Any, pairs: Any, weight: Any, negative_weight: Any, noise: Any, buffer: Any,
    back: Any, other_back: Any, other_bias_back: Any, loss: Any,
) -> None:  # fmt: skip
    """The losses of all centers with the negatives, K of either type: as many times each as the center has contexts of it.

    Sets ``back``, ``other_back`` and ``other_bias_back``, adds to ``loss``.
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    length, size = noise.shape[0], noise.shape[1] // 2
    exp, exponent = buffer
    np.dot(own, other.T, noise)
    for i in range(length):
        for k in range(2 * size):
            noise[i, k] += other_bias[k]
    _exp_minus_abs(noise.ravel(), exp, exponent)
    for i in range(length):
        for half in range(2):
            counts = pairs[i, half] * negative_weight / np.float32(size)
            scale = counts * weight[i]
            for begin in range(half * size, (half + 1) * size, _FACTORS):
                product, linear = one, zero  # the sum of log(1 + e) is the logarithm of one product
                for k in range(begin, min(begin + _FACTORS, (half + 1) * size)):
                    x, e = noise[i, k], exp[i * 2 * size + k]
                    product *= one + e
                    linear += max(x, zero)
                    noise[i, k] = scale * (one if x > zero else e) / (one + e)
                loss[i] += counts * (linear + np.log(product))
    np.dot(noise, other, back)
    np.dot(noise.T, own, other_back)
    other_bias_back[:] = zero
    for i in range(length):
        for k in range(2 * size):
            other_bias_back[k] += noise[i, k]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _learn_window(
    own: Any, bias: Any, radius: int, weight: Any, near: Any, buffer: Any, back: Any, bias_back: Any, loss: Any
) -> None:
    """The losses of all centers with their contexts, added to those with negatives. (i, j) and (j, i) share their product."""
    one, zero = np.float32(1.0), np.float32(0.0)
    length, padded = own.shape
    exp, exponent = buffer
    for i in range(length):
        for offset in range(min(radius, length - 1 - i)):
            j, score = i + 1 + offset, zero
            for d in range(padded):
                score += own[i, d] * own[j, d]
            near[i, 2 * offset] = -(score + bias[j])  # center i, context j
            near[i, 2 * offset + 1] = -(score + bias[i])
    _exp_minus_abs(near.ravel(), exp, exponent)
    for i in range(length):
        for offset in range(min(radius, length - 1 - i)):
            j, at = i + 1 + offset, 2 * offset
            forth, e = near[i, at], exp[i * 2 * radius + at]
            loss[i] += max(forth, zero) + np.log(one + e)
            slope = -weight[i] * (one if forth > zero else e) / (one + e)
            bias_back[j] += slope
            aback, e = near[i, at + 1], exp[i * 2 * radius + at + 1]
            loss[j] += max(aback, zero) + np.log(one + e)
            slope_back = -weight[j] * (one if aback > zero else e) / (one + e)
            bias_back[i] += slope_back
            slope += slope_back
            for d in range(padded):
                back[i, d] += slope * own[j, d]
                back[j, d] += slope * own[i, d]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _exp_minus_abs(x: Any, out: Any, exponent: Any) -> None:
    """out = exp(-|x|) to float32, in loops a compiler turns into vectors: 2^k times a polynomial in the remainder."""
    log2e, high, low = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
    for i in range(x.size):
        y = max(-abs(x[i]), np.float32(-87.0))
        k = np.int32(y * log2e - np.float32(0.5))  # rounds towards zero: to the nearest of a negative number
        r = y - np.float32(k) * high - np.float32(k) * low
        p = np.float32(1.0 / 720)
        for c in (1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0):
            p = p * r + np.float32(c)
        out[i] = p
        exponent[i] = (k + np.int32(127)) << np.int32(23)
    scale = exponent.view(np.float32)  # both may be longer than x
    for i in range(x.size):
        out[i] *= scale[i]
