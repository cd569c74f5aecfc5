"""The Skip-Gram losses and their gradients over whole walks (paper, section 3.2, equations 1 and 3).

A batch of walks needs each of its distinct nodes once: ``rows`` [n, D] are their embeddings, ``walks`` [B, L] index into
them. All scores between the nodes of a walk come from one batched product, and a band keeps those within the window.
Gradients are written out by hand; the tests compare them with automatic differentiation, pair by pair. On a CPU
``vasg.training.kernel`` does the same walk by walk, in the cache.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from vasg.training import kernel


@dataclass(frozen=True)
class Negatives:
    """Nodes that stand for those outside the window; the nodes of one walk share them."""

    rows: Tensor  # [B, 2K] indices into rows: K users, then K products
    weight: float  # how much they weigh for each pair, in negatives a pair


@dataclass(frozen=True)
class SkipGram:
    """Result of one batch: sums over its pairs, and the gradient of the summed loss."""

    gradient: Tensor  # [n, D + 2], with respect to rows and biases; last the pairs in which each row is the center
    user_loss: Tensor  # sum over pairs whose center is a user
    product_loss: Tensor  # the same for products, before its weight
    user_pairs: Tensor  # number of such pairs
    product_pairs: Tensor


def band(length: int, window: int, device: torch.device) -> Tensor:
    """[L, L] 1.0 where two positions of a walk are center and context: at most window // 2 apart, not the same."""
    position = torch.arange(length, device=device)
    distance = (position[:, None] - position[None, :]).abs()
    return ((distance > 0) & (distance <= window // 2)).float()


def skip_gram(
    rows: Tensor, walks: Tensor, is_product: Tensor, window: int, product_weight: Tensor, negatives: Negatives | None
) -> SkipGram:  # fmt: skip
    """Loss and gradient of a batch of walks.

    ``rows`` [n, D + 1], last the bias of each node as a context (zero for the paper's loss); ``walks`` [B, L] indices
    into rows; ``is_product`` [n] bool; ``product_weight`` w1, the weight of pairs whose center is a product (equation 3).
    The loss of a pair is -log sigma(X_c . X_v + b_c): log 2 at zero. With negatives, each pair adds ``weight`` x the
    mean of -log sigma(-X_n . X_v - b_n) over the K negatives n of its walk that have the context's type.
    """
    if rows.device.type == "cpu" and rows.dtype == torch.float32:
        return _compiled(rows, walks, is_product, window, product_weight, negatives)
    return batched(rows, walks, is_product, window, product_weight, negatives)


def _compiled(
    rows: Tensor, walks: Tensor, is_product: Tensor, window: int, product_weight: Tensor, negatives: Negatives | None
) -> SkipGram:
    gradient, sums = np.zeros((len(rows), rows.shape[1] + 1), np.float32), np.zeros(4)
    drawn = negatives.rows if negatives is not None else walks[:, :0]
    kernel.skip_gram(
        rows.contiguous().numpy(), walks.contiguous().numpy(), drawn.contiguous().numpy(), is_product.numpy(), window // 2,
        np.float32(product_weight), np.float32(negatives.weight if negatives is not None else 0), gradient, sums,
    )  # fmt: skip
    return SkipGram(torch.from_numpy(gradient), *torch.from_numpy(sums))


def batched(
    rows: Tensor, walks: Tensor, is_product: Tensor, window: int, product_weight: Tensor, negatives: Negatives | None
) -> SkipGram:
    """``skip_gram`` over the whole batch at once, as a GPU wants it."""
    rows, bias = rows[:, :-1], rows[:, -1]
    keep = band(walks.shape[1], window, rows.device).to(rows.dtype)
    center = rows[walks]  # B x L x D
    product = is_product[walks]  # B x L
    weight = torch.where(product, product_weight, torch.ones_like(product_weight))[:, :, None]  # B x L x 1
    scores = torch.baddbmm(bias[walks][:, None, :], center, center.transpose(1, 2))  # B x L x L, center by context
    loss = (softplus(-scores) * keep).sum(2)  # B x L
    slope = (torch.sigmoid(scores) - 1.0) * keep * weight
    pairs = keep.sum(1).expand_as(product)  # B x L, contexts of each position
    gradient = rows.new_zeros(len(rows), rows.shape[1] + 2)
    # a pair's two ends are rows of the same table: each gets the gradient of both roles
    center_gradient = (slope + slope.transpose(1, 2)) @ center
    bias_gradient = slope.sum(1)
    if negatives is not None:
        other = rows[negatives.rows]  # B x 2K x D
        noise = torch.baddbmm(bias[negatives.rows][:, None, :], center, other.transpose(1, 2))  # B x L x 2K
        products = product.to(rows.dtype) @ keep  # B x L, contexts that are products
        size = negatives.rows.shape[1] // 2
        share = torch.stack([pairs - products, products], 2).repeat_interleave(size, 2) * (negatives.weight / size)
        loss = loss + (softplus(noise) * share).sum(2)
        slope = torch.sigmoid(noise) * share * weight
        center_gradient += slope @ other
        _add(gradient, negatives.rows, slope.transpose(1, 2) @ center, slope.sum(1), torch.zeros_like(share[:, 0]))
    _add(gradient, walks, center_gradient, bias_gradient, pairs)
    # sums, not selections: how many there are would have to come back from a GPU first
    product_loss, product_pairs = (loss * product).sum(), (pairs * product).sum()
    return SkipGram(gradient, loss.sum() - product_loss, product_loss, pairs.sum() - product_pairs, product_pairs)


def _add(target: Tensor, index: Tensor, rows: Tensor, bias: Tensor, pairs: Tensor) -> None:
    """Add ``rows`` [B, x, D], ``bias`` [B, x] and ``pairs`` [B, x] to the rows ``index`` [B, x] of ``target`` [n, D + 2]."""
    target.index_add_(0, index.flatten(), torch.cat([rows, bias[:, :, None], pairs[:, :, None]], 2).flatten(0, 1))
