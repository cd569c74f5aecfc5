"""The Skip-Gram losses and gradients of ``vasg.training.loss`` compiled for a CPU: one walk at a time, in the cache.

A walk's rows are gathered once; its scores within the window are inner products of rows in the L1 cache, those with its
negatives and all gradients small matrix products in registers, STRIP rows at a time. Only a node's own row of the gradient
is written back.
"""

from typing import Any

import numpy as np

from vasg.machine.compiled import njit, vectors
from vasg.machine.registers import LANES, STRIP, multiply_strip

_part = njit(inline="always")


@vectors
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
    padded, lines, columns = _whole(dim, LANES), _whole(length, STRIP), _whole(size, LANES)
    around = np.zeros(
        (lines + 2 * radius, padded), np.float32
    )  # own, and zeros for what is before a walk and behind it
    own, back = around[radius : radius + lines], np.empty((lines, padded), np.float32)
    bias, bias_back, loss = np.empty(length, np.float32), np.empty(length, np.float32), np.empty(length, np.float32)
    other, other_back = np.zeros((columns, padded), np.float32), np.empty((columns, padded), np.float32)
    turned, other_bias = np.zeros((padded, columns), np.float32), np.zeros(columns, np.float32)
    side, weight, pairs = np.empty(length, np.int64), np.empty(length, np.float32), np.empty((length, 2), np.float32)
    noise, near = np.empty((lines, columns), np.float32), np.zeros((length, 2 * radius), np.float32)
    slopes = np.zeros((lines, STRIP + 2 * radius), np.float32)
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
            for d in range(dim):
                for k in range(size):
                    turned[d, k] = other[k, d]
            _learn_negatives(
                own, other, turned, other_bias, pairs, weight, negative_weight, size // 2, noise, buffer, back, other_back, loss
            )  # fmt: skip
            _give(gradient, negatives[b], other_back, other_bias)
        else:
            back[:] = np.float32(0.0)
        _learn_window(around, bias, radius, weight, near, buffer, slopes, back, bias_back, loss)
        _give(gradient, walk, back, bias_back)
        for i in range(length):
            found = pairs[i, 0] + pairs[i, 1]
            gradient[walk[i], dim + 1] += found
            sums[side[i]] += loss[i]
            sums[2 + side[i]] += found


@_part
def _whole(count: int, step: int) -> int:
    """The next multiple of ``step``: arrays are padded with zeros, so that loops over them are whole registers."""
    return (count + step - 1) // step * step


@_part
def _take(rows: Any, nodes: Any, own: Any, bias: Any) -> None:
    """Rows of ``nodes`` [n] to ``own`` [n, padded] and ``bias`` [n]."""
    dim = rows.shape[1] - 1
    for i in range(nodes.size):
        v = nodes[i]
        for d in range(dim):  # a loop is vectors, where a slice is a call
            own[i, d] = rows[v, d]
        bias[i] = rows[v, dim]


@_part
def _give(gradient: Any, nodes: Any, back: Any, bias_back: Any) -> None:
    """Add ``back`` [n, padded] and ``bias_back`` [n] to the gradient of ``nodes`` [n]."""
    dim = gradient.shape[1] - 2
    for i in range(nodes.size):
        v = nodes[i]
        for d in range(dim):
            gradient[v, d] += back[i, d]
        gradient[v, dim] += bias_back[i]


@_part
def _count_pairs(side: Any, radius: int, pairs: Any) -> None:
    """``pairs`` [L, 2]: how many contexts of either type each center has."""
    length = side.size
    pairs[:] = np.float32(0.0)
    for i in range(length):
        for j in range(max(0, i - radius), min(length, i + radius + 1)):
            if j != i:
                pairs[i, side[j]] += np.float32(1.0)


@_part
def _learn_negatives(
    own: Any, other: Any, turned: Any, other_bias: Any, pairs: Any, weight: Any, negative_weight: Any, size: int, noise: Any,
    buffer: Any, back: Any, other_back: Any, loss: Any,
) -> None:  # fmt: skip
    """The losses of all centers with the negatives, K of either type: as many times each as the center has contexts of it.

    Sets ``back`` and ``other_back``, turns ``other_bias`` into its gradient, adds to ``loss``. ``turned`` is ``other``
    with rows as columns.
    """
    length, padded, columns = loss.size, own.shape[1], noise.shape[1]
    share = negative_weight / np.float32(size)
    for row in range(0, noise.shape[0], STRIP):
        _multiply(own, row * padded, padded, 1, turned, 0, padded, noise, row, False)
    for i in range(length):
        for k in range(columns):
            noise[i, k] += other_bias[k]
    soft = buffer[0]
    _softplus(noise.ravel(), buffer[0], buffer[1])
    other_bias[:] = np.float32(0.0)
    for i in range(length):
        users, products = pairs[i, 0] * share, pairs[i, 1] * share
        total = np.float32(0.0)
        for k in range(columns):  # nothing is written: where memory lies must not decide how a sum is rounded
            total += (users if k < size else products if k < 2 * size else np.float32(0.0)) * soft[i * columns + k]
        loss[i] += total
        for k in range(columns):
            noise[i, k] *= (users if k < size else products if k < 2 * size else np.float32(0.0)) * weight[i]
        for k in range(columns):
            other_bias[k] += noise[i, k]
    for row in range(0, noise.shape[0], STRIP):
        _multiply(noise, row * columns, columns, 1, other, 0, columns, back, row, False)
    for row in range(0, columns, STRIP):
        _multiply(noise, row, 1, columns, own, 0, noise.shape[0], other_back, row, False)


@_part
def _learn_window(
    around: Any, bias: Any, radius: int, weight: Any, near: Any, buffer: Any, slopes: Any, back: Any, bias_back: Any, loss: Any
) -> None:  # fmt: skip
    """The losses of all centers with their contexts, added to those with negatives. (i, j) and (j, i) share their product.

    ``around`` is own with ``radius`` rows of zeros before it and behind; ``slopes`` [lines, STRIP + 2 radius], of what is
    in ``around`` from the first row of a strip on, is zero outside the window.
    """
    length, padded = loss.size, around.shape[1]
    own = around[radius:]
    for i in range(length):
        for offset in range(min(radius, length - 1 - i)):
            j, score = i + 1 + offset, np.float32(0.0)
            for d in range(padded):
                score += own[i, d] * own[j, d]
            near[i, 2 * offset] = -(score + bias[j])  # center i, context j
            near[i, 2 * offset + 1] = -(score + bias[i])
    soft = buffer[0]
    _softplus(near.ravel(), buffer[0], buffer[1])
    for i in range(length):
        for offset in range(min(radius, length - 1 - i)):
            j, at = i + 1 + offset, 2 * (i * radius + offset)
            loss[i] += soft[at]
            loss[j] += soft[at + 1]
            forth, aback = weight[i] * near[i, 2 * offset], weight[j] * near[i, 2 * offset + 1]
            bias_back[j] -= forth
            bias_back[i] -= aback
            slopes[i, radius + j - i // STRIP * STRIP] = -(forth + aback)
            slopes[j, radius + i - j // STRIP * STRIP] = -(forth + aback)
    width = slopes.shape[1]
    for row in range(0, back.shape[0], STRIP):
        _multiply(slopes, row * width, width, 1, around, row * padded, width, back, row, True)


@_part
def _multiply(
    a: Any, first: int, stride: int, step: int, b: Any, top: int, depth: int, out: Any, row: int, add: bool
) -> None:
    """STRIP rows of ``out`` [m, n], from ``row`` on, become a @ b, or have it added.

    a [STRIP, depth] begins at element ``first``, its rows ``stride`` and its columns ``step`` apart; b [depth, n] at ``top``.
    """
    left, right, found, width = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size), out.shape[1]
    for column in range(0, width, LANES):
        multiply_strip(
            left, first, stride, step, right, top + column, width, depth, found, row * width + column, width, add
        )


@_part
def _softplus(x: Any, out: Any, exponent: Any) -> None:
    """out = log(1 + exp(x)) and x = 1 / (1 + exp(-x)) to float32, in loops that a compiler turns into vectors.

    exp(-|x|) is 2^k times a polynomial in the remainder, log(1 + e) is 2 artanh(e / (2 + e)).
    """
    zero, one, two = np.float32(0.0), np.float32(1.0), np.float32(2.0)
    log2e, high, low = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
    for i in range(x.size):
        y = max(-abs(x[i]), np.float32(-40.0))
        k = np.int32(y * log2e - np.float32(0.5))  # rounds towards zero: to the nearest of a negative number
        r = y - np.float32(k) * high - np.float32(k) * low
        p = np.float32(1.0 / 720)
        for c in (1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0):
            p = p * r + np.float32(c)
        out[i] = p
        exponent[i] = (k + np.int32(127)) << np.int32(23)
    scale = exponent.view(np.float32)  # both may be longer than x
    for i in range(x.size):
        e = out[i] * scale[i]
        inverse = one / ((one + e) * (two + e))
        z = e * (one + e) * inverse  # at most a third
        square, series = z * z, np.float32(1.0 / 13)
        for c in (1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0):
            series = series * square + np.float32(c)
        out[i] = max(x[i], zero) + two * z * series
        x[i] = (one if x[i] > zero else e) * (two + e) * inverse
