"""Stage 1: one step of Skip-Gram and decoder over all workers (paper, equations 1-3)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vasg import randomness
from vasg.training import dropout
from vasg.training.decoder import Layers, in_bfloat16
from vasg.training.features import Features
from vasg.training.loss import Negatives, skip_gram
from vasg.training.plan import Plan
from vasg.training.row_optimizers import Optimizer, RowAdagrad, RowAdam
from vasg.training.sharded import ShardedRows, owned
from vasg.training.walk_reader import Batch, steps_per_epoch
from vasg.training.workers import Workers

_SCALE = 0.05  # expected length of an embedding at initialisation: small, so that what is learned outgrows it
_CHUNK = 65_536
_DECODER_STEPS = 400  # at least, where there are as many: fewer teach it little more than the mean feature
FIGURES = ("user_loss", "user_pairs", "product_loss", "product_pairs", "decoder_loss", "decoder_weight")


class Vasg:
    """Embeddings of users and warm products, the decoder M^-1 and the weights that balance their losses.

    The loss of a global batch is a sum over its pairs (equation 3)::

        sum over user centers of sg + sum over product centers of [ exp(-s1) sg + exp(-s2)/2 ||f - f'||^2 + (s1+s2)/2 ]

    with s = log sigma^2 learned (Kendall, Gal and Cipolla 2018: the classification and the regression form). Without
    ``visual`` there is no decoder and no picture in it: the baseline skipgram.
    """

    def __init__(
        self, plan: Plan, workers: Workers, features: Features, device: torch.device, visual: bool = True
    ) -> None:
        train, self.plan, self.workers, self.features, self.device = plan.config.train, plan, workers, features, device
        seed, nodes, sampled = plan.config.seed, plan.users + plan.warm, train.objective == "sampled"
        optimizer: Callable[[Tensor], Optimizer] = RowAdam
        prior = None
        if sampled and visual:
            prior = torch.from_numpy(_stored_rows(plan.prior, owned(workers, nodes), train.dim)).to(device)
        if sampled:
            optimizer = partial(RowAdagrad, pull=self._pull(owned(workers, nodes)), prior=prior)
        self.rows = ShardedRows(workers, nodes, train.dim, seed, _SCALE / train.dim**0.5, device, optimizer)
        if prior is not None:
            self.rows.embeddings.add_(prior)
        if sampled:
            self.rows.values[:, -1] = self._popularity_bias()
        self.decodes = visual and train.decoder.every > 0
        sizes = [train.dim, *train.decoder.hidden, features.dim] if self.decodes else [train.dim]  # no layer at all
        self.decoder = Layers(sizes, train.decoder.dropout, features.positive, seed, "decoder").to(device)
        if self.decodes:
            self.decoder.start_from(features.mean)
            often = steps_per_epoch(plan.groups) * train.epochs // _DECODER_STEPS
            self.every = 1 if train.objective == "paper" else min(train.decoder.every, max(1, often))
        # both start at their optimum for an untrained model: log 2 a score, and the error of predicting the mean feature;
        # without a decoder there is nothing to balance: weights of 1 and 0, for good
        scores = 1.0 + (train.negative_weight if train.objective == "sampled" else 0.0)
        start = [2 * scores * np.log(2.0), features.variance] if self.decodes else [1.0, torch.inf]
        self.log_var = nn.Parameter(torch.tensor(start, dtype=torch.float32, device=device).log())
        parameters = [*self.decoder.groups(train.decoder.learning_rate), {"params": [self.log_var]}]
        self.optimizer = torch.optim.Adam(parameters, lr=train.decoder.learning_rate, fused=True)
        # share of a batch's products that go through the decoder; follows the last batch, 0 before the first
        self.share = 0.0
        self.figures = torch.zeros(len(FIGURES), dtype=torch.float64, device=device)

    def step(self, batch: Batch, number: int, learning_rate: float) -> None:
        """Train on this worker's part of global batch ``number``."""
        plan, train = self.plan, self.plan.config.train
        drawn = self._negatives(batch.places, number) if train.objective == "sampled" else batch.walks[:, :0]
        fetched = self.rows.fetch(torch.from_numpy(np.concatenate([batch.walks, drawn], 1)))
        length = batch.walks.shape[1]
        negatives = Negatives(fetched.index[:, length:], train.negative_weight) if drawn.size else None
        product_weight = torch.exp(-self.log_var[0].detach())
        is_product = fetched.nodes >= plan.users
        sums = skip_gram(fetched.rows, fetched.index[:, :length], is_product, train.window, product_weight, negatives)
        rows, gradient = self.rows.collect(fetched, sums.gradient)
        if train.objective == "paper":
            gradient[:, self.rows.dim] = 0  # the paper's score has no bias
        if self.decodes and number % self.every == 0:
            self._decode(rows, gradient, number, sums.product_loss, sums.product_pairs)
        self.rows.update(rows, gradient, learning_rate)
        figures = [sums.user_loss, sums.user_pairs, sums.product_loss, sums.product_pairs]
        self.figures[:4] += torch.stack(figures).to(self.figures.dtype)

    def _pull(self, own: NDArray[np.int64]) -> Tensor:
        """[own] strength of L2 for each pair of a node: pairs grow with purchases, and in all each node is pulled alike."""
        purchases = np.maximum(np.load(self.plan.degree)[own], 1)
        return torch.from_numpy(self.plan.config.train.regularisation / purchases).float().to(self.device)

    def _popularity_bias(self) -> Tensor:
        """[own] log of each node's share of the pairs of its type, relative to the negatives: right for X = 0."""
        degree = np.load(self.plan.degree)
        users, own = self.plan.users, self.rows.own.cpu().numpy()
        mean = np.where(own < users, degree[:users].mean(), degree[users:].mean())
        bias = np.log(np.maximum(degree[own], 0.5) / mean / self.plan.config.train.negative_weight)
        return torch.from_numpy(bias).float().to(self.device)

    def _negatives(self, places: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        """[b, 2K] for each walk K users and K warm products, uniform over each type, the same on any worker."""
        plan, count = self.plan, self.plan.config.train.negatives
        counter = places[:, None] * (2 * count) + np.arange(2 * count)  # b x 2K
        bound = np.repeat([plan.users, plan.warm], count)
        drawn: NDArray[np.int64] = randomness.integers(plan.config.seed, "negatives", number, counter, bound)
        drawn[:, count:] += plan.users
        return drawn

    def _decode(self, rows: Tensor, gradient: Tensor, number: int, product_loss: Tensor, product_pairs: Tensor) -> None:
        """Equation 2 on a sample of the products this worker owns, added to their ``gradient`` [m, D + 2].

        Each distinct product goes through the decoder once, weighted by the pairs in which it is the center.
        """
        seed = self.plan.config.seed
        product, pairs = self.rows.own[rows] - self.plan.users, gradient[:, -1]
        candidates = (product >= 0) & (pairs > 0)
        candidates &= self.features.has(product.clamp(min=0))
        if not self.share:
            self._follow(self.workers.allreduce(candidates.sum().double(), "candidates").item())
        chosen = (candidates & (_uniform(seed, number, product) < self.share)).nonzero()[:, 0]
        weight = pairs[chosen]
        counts = [candidates.sum(), weight.sum(), (pairs * candidates).double().sum(), product_pairs, product_loss]
        totals = self.workers.allreduce(torch.stack([c.double() for c in counts]), "counts")
        available, total_weight, pictured_pairs, *total_product = totals.tolist()
        self._follow(available)
        if total_weight == 0:
            return
        keys = dropout.keys(seed, number, product[chosen])
        x = self.rows.embeddings[rows[chosen]].requires_grad_()
        with in_bfloat16(self.device):
            output = self.decoder(x, keys)
        error = (output.float() - self.features.of(product[chosen])).square().sum(1)  # m, ||f - f'||^2
        weighted = (weight * error).sum()
        scale = pictured_pairs / total_weight * torch.exp(-self.log_var[1].detach()) / 2
        self.optimizer.zero_grad()
        (scale * weighted).backward()
        assert x.grad is not None
        gradient[chosen, : self.rows.dim] += x.grad
        self._step_decoder(weighted.detach(), total_weight, pictured_pairs, *total_product)
        self.figures[4] += weighted.detach()
        self.figures[5] += weight.sum()

    def _follow(self, available: float) -> None:
        """Decode about as many products as are asked for where as many are ``available`` as in the last batch."""
        self.share = min(1.0, self.plan.config.train.decoder.products_per_step / max(available, 1.0))

    def _step_decoder(
        self, weighted: Tensor, total_weight: float, pictured_pairs: float, total_pairs: float, total_loss: float
    ) -> None:
        """Add up the decoder's gradient over the workers, derive that of the log variances, and take the step."""
        mean_error = self.workers.allreduce_gradients(self.decoder, weighted, "decoder") / total_weight
        s1, s2 = self.log_var.detach()
        self.log_var.grad = torch.stack(
            [total_pairs / 2 - torch.exp(-s1) * total_loss, pictured_pairs * (0.5 - torch.exp(-s2) / 2 * mean_error)]
        )
        self.optimizer.step()

    def take_figures(self) -> dict[str, float]:
        """Mean losses of all workers since the last call."""
        sums = dict(zip(FIGURES, self.workers.allreduce(self.figures, "figures").tolist(), strict=True))
        self.figures.zero_()
        w1, w2 = torch.exp(-self.log_var.detach()).tolist()
        return {
            "loss": (sums["user_loss"] + sums["product_loss"]) / max(sums["user_pairs"] + sums["product_pairs"], 1.0),
            "user_loss": sums["user_loss"] / max(sums["user_pairs"], 1.0),
            "product_loss": sums["product_loss"] / max(sums["product_pairs"], 1.0),
            "decoder_loss": sums["decoder_loss"] / max(sums["decoder_weight"], 1.0) / self.features.dim,
            "weight_skip_gram": w1,
            "weight_decoder": w2 / 2,
            "pairs": sums["user_pairs"] + sums["product_pairs"],
        }

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs to go on from here, except the rows."""
        return {
            "decoder": self.decoder.state_dict(), "log_var": self.log_var.detach(), "optimizer": self.optimizer.state_dict(),
            "share": self.share,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        self.decoder.load_state_dict(state["decoder"])
        with torch.no_grad():
            self.log_var.copy_(state["log_var"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.share = state["share"]


def _stored_rows(file: str, rows: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    """[n, dim] these rows of a file, each chunk by a mapping of its own: the file does not stay in memory beside them."""
    found = np.empty((len(rows), dim), np.float32)
    for begin in range(0, len(rows), _CHUNK):
        found[begin : begin + _CHUNK] = np.load(file, mmap_mode="r")[rows[begin : begin + _CHUNK]]
    return found


def _uniform(seed: int, number: int, product: Tensor) -> Tensor:
    """[m] in [0, 1) that decides which products of a step are decoded: the same on any worker."""
    values = randomness.uniform(seed, "decoder_sample", number, product.cpu().numpy())
    return torch.from_numpy(values).to(product.device)
