"""The Skip-Gram losses and their gradients over whole walks (paper, section 3.2, equations 1 and 3).

A batch of walks needs each of its distinct nodes once: ``rows`` [n, D] are their embeddings, ``walks`` [B, L] index into
them. All scores between the nodes of a walk come from one batched product, and a band keeps those within the window.
Gradients are written out by hand; the tests compare them with automatic differentiation, pair by pair.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class Negatives:
    """Nodes that stand for those outside the window; the nodes of one walk share them."""

    rows: Tensor  # [B, 2K] indices into rows: K users, then K products
    weight: float  # how much they weigh for each pair, in negatives a pair


@dataclass(frozen=True)
class SkipGram:
    """Result of one batch: sums over its pairs, and the gradient of the summed loss."""

    gradient: Tensor  # [n, D + 1], with respect to rows and biases
    user_loss: Tensor  # sum over pairs whose center is a user
    product_loss: Tensor  # the same for products, before its weight
    user_pairs: Tensor  # number of such pairs
    product_pairs: Tensor
    center_pairs: Tensor  # [n] pairs in which each row is the center


def band(length: int, window: int, device: torch.device) -> Tensor:
    """[L, L] 1.0 where two positions of a walk are center and context: at most window // 2 apart, not the same."""
    position = torch.arange(length, device=device)
    distance = (position[:, None] - position[None, :]).abs()
    return ((distance > 0) & (distance <= window // 2)).float()


def skip_gram(
    rows: Tensor, bias: Tensor, walks: Tensor, is_product: Tensor, window: int, product_weight: Tensor,
    negatives: Negatives | None,
) -> SkipGram:  # fmt: skip
    """Loss and gradient of a batch of walks.

    ``rows`` [n, D]; ``bias`` [n] of each node as a context (zero for the paper's loss); ``walks`` [B, L] indices into
    rows; ``is_product`` [n] bool; ``product_weight`` w1, the weight of pairs whose center is a product (equation 3).
    The loss of a pair is -log sigma(X_c . X_v + b_c): log 2 at zero. With negatives, each pair adds ``weight`` x the
    mean of -log sigma(-X_n . X_v - b_n) over the K negatives n of its walk that have the context's type.
    """
    keep = band(walks.shape[1], window, rows.device).to(rows.dtype)
    center = rows[walks]  # B x L x D
    product = is_product[walks]  # B x L
    weight = torch.where(product, product_weight, torch.ones_like(product_weight))[:, :, None]  # B x L x 1
    scores = torch.baddbmm(bias[walks][:, None, :], center, center.transpose(1, 2))  # B x L x L, center by context
    loss = (softplus(-scores) * keep).sum(2)  # B x L
    slope = (torch.sigmoid(scores) - 1.0) * keep * weight
    pairs = keep.sum(1).expand_as(product)  # B x L, contexts of each position
    gradient = rows.new_zeros(len(rows), rows.shape[1] + 1)
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
        _add(gradient, negatives.rows, slope.transpose(1, 2) @ center, slope.sum(1))
    _add(gradient, walks, center_gradient, bias_gradient)
    center_pairs = rows.new_zeros(len(rows)).index_add_(0, walks.flatten(), pairs.flatten())
    product_pairs = pairs[product].sum()
    return SkipGram(
        gradient, loss[~product].sum(), loss[product].sum(), pairs.sum() - product_pairs, product_pairs, center_pairs
    )


def _add(target: Tensor, index: Tensor, rows: Tensor, bias: Tensor) -> None:
    """Add ``rows`` [B, x, D] and ``bias`` [B, x] to the rows ``index`` [B, x] of ``target`` [n, D + 1]."""
    target.index_add_(0, index.flatten(), torch.cat([rows, bias[:, :, None]], 2).flatten(0, 1))
