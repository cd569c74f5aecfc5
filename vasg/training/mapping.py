"""Stage 2: the mapping M from image features to embeddings, learned with the decoder frozen (paper, section 3.2)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vasg import randomness
from vasg.training import dropout
from vasg.training.decoder import Layers
from vasg.training.features import Features
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows
from vasg.training.workers import Workers

_STAGE = 1 << 40  # keeps the counters of this stage apart from the steps of stage 1
# share of the warm products that is held out, and how many at most: they tell when to stop
_HELD_OUT, _MOST_HELD_OUT = 0.1, 8192
_PATIENCE = 2  # passes without a gain
_BATCH = 4096  # products mapped at a time
_LOSSES = ("reconstruction", "regression")


class Mapping:
    """The encoder M: image feature [I] -> embedding [D], the decoder's layers in reverse.

    It starts from the visual prior P (zero for the paper's objective), a function of the picture, too, and learns what
    trained embeddings are beyond it, in units of their own: M(f) = P + center + spread x encoder(f).

    Its loss over a batch of warm products adds up, each in units of a variance, the parts the configuration names:
    reconstruction ``||f - M^-1(M(f + noise))||^2`` (the paper's) and regression ``||X - M(f + noise)||^2``. It ends with the
    parameters that had the smallest regression (reconstruction, where that is all) on the products ``held_out`` [n].
    """

    def __init__(self, plan: Plan, workers: Workers, rows: ShardedRows, decoder: Layers, features: Features) -> None:
        self.plan, self.workers, self.rows, self.decoder, self.features = plan, workers, rows, decoder, features
        train, settings = plan.config.train, plan.config.train.mapping
        sizes = [features.dim, *reversed(train.decoder.hidden), train.dim]
        self.encoder = Layers(sizes, settings.dropout, False, plan.config.seed, "encoder").to(rows.device)
        self.encoder.start_from(torch.zeros(train.dim))
        self.optimizer = torch.optim.Adam(self.encoder.groups(settings.learning_rate), fused=True)
        self._prior = np.load(plan.prior, mmap_mode="r") if train.objective == "sampled" else None
        warm = np.flatnonzero(np.load(plan.has_feature)[: plan.warm])
        chance = min(_HELD_OUT, _MOST_HELD_OUT / max(len(warm), 1))
        asks = randomness.uniform(plan.config.seed, "mapping_held_out", warm) < chance
        self.held_out, fitted = warm[asks], warm[~asks]
        self._unseen, self._fitted = self._owned(self.held_out), self._owned(fitted)
        self.fitted_count = len(fitted)  # warm products with a picture that are not held out, on all workers
        self.batches = max(1, round(self.fitted_count / settings.batch_size))  # of an epoch
        mean = workers.allreduce(self._moments(), "moments") / max(self.fitted_count, 1)
        self.variance = max(float(mean[0] - mean[1:].square().sum()), 1e-12)
        self.center, self.spread = mean[1:].float(), (self.variance / train.dim) ** 0.5
        self._least, self._best, self._since = float("inf"), self._parameters(), 0
        self._judge()

    def _owned(self, products: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Those of ``products`` whose rows this worker owns, and which rows."""
        own = torch.from_numpy(products[(products + self.plan.users) % self.workers.size == self.workers.index])
        own = own.to(self.rows.device)
        return own, (own + self.plan.users) // self.workers.size

    def _moments(self) -> Tensor:
        """Sum of squares, and sum, of what this worker's embeddings of the products M learns from are beyond the prior."""
        sums = torch.zeros(1 + self.rows.dim, dtype=torch.float64, device=self.rows.device)
        for product, row in zip(*(part.split(_BATCH) for part in self._fitted), strict=True):
            x = (self.rows.embeddings[row] - self._prior_of(product)).double()
            sums += torch.cat([x.square().sum()[None], x.sum(0)])
        return sums

    def epoch(self, epoch: int, batches: int) -> dict[str, float]:
        """The first ``batches`` of a pass over the products M learns from; mean losses in units of their variance."""
        seed = self.plan.config.seed
        # a product's place in the order is a hash of its own, so every worker finds its part of each global batch
        place = torch.from_numpy(randomness.uniform(seed, "mapping_order", epoch, self._fitted[0].cpu().numpy()))
        batch_of = (place * self.batches).long().to(self.rows.device)
        sums = torch.zeros(3, dtype=torch.float64)
        for batch in range(batches):
            sums += self._step((batch_of == batch).nonzero()[:, 0], _STAGE + epoch * self.batches + batch)
        unseen = self._judge()
        figures = dict(zip(_LOSSES, (sums[:2] / sums[2].clamp(min=1.0)).tolist(), strict=True))
        if len(self.held_out):
            figures |= {f"{name}_held_out": loss for name, loss in zip(_LOSSES, unseen.tolist(), strict=True)}
        return figures

    def _step(self, mine: Tensor, number: int) -> Tensor:
        """One Adam step on a global batch of which this worker holds ``mine``; returns the summed losses and the count."""
        seed, (product, row) = self.plan.config.seed, self._fitted
        product, row = product[mine], row[mine]
        noise = dropout.normal_noise(dropout.keys(seed, number + _STAGE, product), self.features.dim)
        noise *= self.plan.config.train.mapping.noise * self.features.deviation
        losses = self._losses(product, row, noise, dropout.keys(seed, number, product))
        self.optimizer.zero_grad()
        self._wanted(losses).backward()
        losses = torch.cat([losses.detach(), losses.new_tensor([len(mine)])])
        losses = self.workers.allreduce_gradients(self.encoder, losses, "encoder")
        if losses[-1]:
            for parameter in self.encoder.parameters():
                assert parameter.grad is not None
                parameter.grad /= losses[-1]
            self.optimizer.step()
        return losses.double().cpu()

    def _losses(
        self, product: Tensor, row: Tensor, noise: Tensor | float = 0.0, dropout_key: Tensor | None = None
    ) -> Tensor:
        """[2] reconstruction (where it counts) and regression, summed over products whose embeddings are in these rows."""
        clean = self.features.of(product)
        embedding = self._embedding(product, clean + noise, dropout_key)
        regression = (embedding - self.rows.embeddings[row]).square().sum() / self.variance
        reconstruction = torch.zeros_like(regression)
        if self.plan.config.train.mapping.objective != "regression":
            reconstruction = (self.decoder(embedding) - clean).square().sum() / self.features.variance
        return torch.stack([reconstruction, regression])

    def _wanted(self, losses: Tensor) -> Tensor:
        """The sum of those that the configuration names."""
        return losses[0] if self.plan.config.train.mapping.objective == "reconstruction" else losses.sum()

    def _judge(self) -> Tensor:
        """[2] mean losses over the products held out; keeps the best parameters, or the last where there are none to judge by."""
        parts = zip(*(part.split(_BATCH) for part in self._unseen), strict=True)
        with torch.no_grad():
            found = torch.stack([self._losses(product, row) for product, row in parts]).double().sum(0)
        losses = self.workers.allreduce(found, "held_out").cpu() / max(len(self.held_out), 1)
        loss = float(losses[0 if self.plan.config.train.mapping.objective == "reconstruction" else 1])
        if loss < self._least or not len(self.held_out):
            self._least, self._best, self._since = loss, self._parameters(), 0
        else:
            self._since += 1
        return losses

    def _parameters(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.encoder.state_dict().items()}

    @property
    def has_ended(self) -> bool:
        """Whether further passes are not worth it."""
        return self._since >= _PATIENCE

    def take_best(self) -> None:
        """Go back to the parameters that did best on the products held out."""
        self.encoder.load_state_dict(self._best)

    def _embedding(self, product: Tensor, features: Tensor, dropout_key: Tensor | None = None) -> Tensor:
        embedding: Tensor = self._prior_of(product) + self.center + self.spread * self.encoder(features, dropout_key)
        return embedding

    def _prior_of(self, product: Tensor) -> Tensor:
        """[n, D] what pictures say of products in closed form."""
        if self._prior is None:
            return self.rows.values.new_zeros(len(product), self.rows.dim)
        return torch.from_numpy(self._prior[product.cpu().numpy() + self.plan.users]).to(self.rows.device)

    def map(self, product: Tensor) -> Tensor:
        """[n, D] embeddings of products by their pictures."""
        with torch.no_grad():
            return (
                torch.cat([self._embedding(part, self.features.of(part)) for part in product.split(_BATCH)])
                if len(product)
                else (self.rows.values.new_empty(0, self.rows.dim))
            )


def cold_products(plan: Plan, workers: Workers, features: Features, device: torch.device) -> Tensor:
    """Cold products with a picture that this worker maps, as product numbers."""
    nodes = torch.from_numpy(np.arange(plan.users + plan.warm, plan.users + plan.products)).to(device)
    product = nodes[nodes % workers.size == workers.index] - plan.users
    return product[features.has(product)]
