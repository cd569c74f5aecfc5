"""The Skip-Gram losses and their gradients over whole walks (paper, section 3.2, equations 1 and 3).

A batch of walks needs each of its distinct nodes once: ``rows`` [n, D] are their embeddings, ``walks`` [B, L] index into
them. All scores between the nodes of a walk come from one batched product, and a band keeps those within the window.
Gradients are written out by hand; the tests compare them with automatic differentiation, pair by pair. On a CPU
``vasg.training.kernel`` does the same walk by walk, in the cache.
"""

from dataclasses import dataclass
from functools import lru_cache

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
    """``skip_gram`` over the whole batch at once, as a GPU wants it: in few operations, none of which waits for another's size.

    The N others that a center meets are the nodes of its walk and the negatives, which count with the opposite sign.
    """
    length, dim = walks.shape[1], rows.shape[1] - 1
    others = walks if negatives is None else torch.cat([walks, negatives.rows], 1)  # B x N
    keep, pairs, sign = _constants(length, others.shape[1], window, rows.device, rows.dtype)
    product = is_product[walks].to(rows.dtype)  # B x L
    counted = keep.expand(len(walks), -1, -1)  # B x L x N, how often each is met
    if negatives is not None:
        contexts = keep @ torch.stack([1 - product, product], 2)  # B x L x 2, of each type
        size = negatives.rows.shape[1] // 2
        share = contexts[:, :, :, None].expand(-1, -1, -1, size).flatten(2) * (negatives.weight / size)
        counted = torch.cat([counted, share], 2)
    found = rows[others]  # B x N x (D + 1)
    other, center = found[:, :, :dim], found[:, :length, :dim]
    scores = torch.baddbmm(found[:, None, :, dim], center, other.transpose(1, 2)) * sign  # B x L x N
    loss = (softplus(scores) * counted).sum(2)  # B x L
    weight = (1 + product * (product_weight - 1))[:, :, None]
    slope = torch.sigmoid(scores) * counted * weight * sign
    change = slope.transpose(1, 2) @ center  # a pair's two ends are rows of the same table:
    change[:, :length] += slope @ other  # each gets the gradient of both roles
    columns = [change, slope.sum(1)[:, :, None], pairs.expand(len(walks), -1)[:, :, None]]
    gradient = rows.new_zeros(len(rows), dim + 2)
    gradient.index_add_(0, others.flatten(), torch.cat(columns, 2).flatten(0, 1))
    # sums, not selections: how many there are would have to come back from a GPU first
    product_loss, product_pairs = (loss * product).sum(), (pairs[:length] * product).sum()
    user_pairs = pairs.sum() * len(walks) - product_pairs
    return SkipGram(gradient, loss.sum() - product_loss, product_loss, user_pairs, product_pairs)


@lru_cache(maxsize=8)
def _constants(
    length: int, others: int, window: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """``band`` [L, L], the contexts of each of the N others as a center [N], and the sign [N] with which its score is a loss."""
    keep, position = band(length, window, device).to(dtype), torch.arange(others, device=device)
    pairs = torch.nn.functional.pad(keep.sum(1), (0, others - length))
    return keep, pairs, torch.where(position < length, -1, 1).to(dtype)
