"""Stage 2: the mapping M from image features to embeddings, learned with the decoder frozen (paper, section 3.2)."""

import numpy as np
import torch
from torch import Tensor

from vasg import randomness
from vasg.training import dropout
from vasg.training.decoder import Layers
from vasg.training.features import Features
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows
from vasg.training.workers import Workers

_STAGE = 1 << 40  # keeps the counters of this stage apart from the steps of stage 1


class Mapping:
    """The encoder M: image feature [I] -> embedding [D], the decoder's layers in reverse.

    Its last layer gives embeddings in units of their own: M(f) = center + spread x encoder(f), of trained products.
    Started in units of 1 it would first have to shrink many times over, which leaves its ReLUs dead in many shops.

    Its loss over a batch of warm products adds up, each in units of its own variance, the parts the configuration names:
    reconstruction ``||f - M^-1(M(f + noise))||^2`` (the paper's) and regression ``||X - M(f + noise)||^2``.
    """

    def __init__(self, plan: Plan, workers: Workers, rows: ShardedRows, decoder: Layers, features: Features) -> None:
        self.plan, self.workers, self.rows, self.decoder, self.features = plan, workers, rows, decoder, features
        train, settings = plan.config.train, plan.config.train.mapping
        sizes = [features.dim, *reversed(train.decoder.hidden), train.dim]
        self.encoder = Layers(sizes, settings.dropout, False, plan.config.seed, "encoder").to(rows.device)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=settings.learning_rate, fused=True)
        product = rows.own - plan.users  # this worker trains on the products whose rows it owns
        mine = product >= 0
        mine &= features.has(product.clamp(min=0))
        self.local, self.product = mine.nonzero()[:, 0], product[mine]
        moments = workers.total(self._moments(), "moments")
        self.taught_by = int(moments[0])  # warm products with a picture, on all workers
        self.batches = max(1, round(self.taught_by / settings.batch_size))  # of an epoch
        mean = moments[1:] / moments[0].clamp(min=1)
        self.variance = max(float(mean[0] - mean[1:].square().sum()), 1e-12)
        self.center, self.spread = mean[1:].float(), (self.variance / train.dim) ** 0.5

    def _moments(self) -> Tensor:
        """Count, sum of squares, and sum of this worker's embeddings of products with a picture."""
        x = self.rows.embeddings[self.local].double()
        return torch.cat([torch.stack([x.new_tensor(len(x)), x.square().sum()]), x.sum(0)])

    def epoch(self, epoch: int, batches: int) -> dict[str, float]:
        """The first ``batches`` of a pass over the warm products with a picture; mean losses in units of their variance."""
        seed = self.plan.config.seed
        # a product's place in the order is a hash of its own, so every worker finds its part of each global batch
        place = torch.from_numpy(randomness.uniform(seed, "mapping_order", epoch, self.product.cpu().numpy()))
        batch_of = (place * self.batches).long().to(self.rows.device)
        sums = torch.zeros(3, dtype=torch.float64)
        for batch in range(batches):
            sums += self._step((batch_of == batch).nonzero()[:, 0], _STAGE + epoch * self.batches + batch)
        reconstruction, regression, count = sums.tolist()
        return {"reconstruction": reconstruction / max(count, 1.0), "regression": regression / max(count, 1.0)}

    def _step(self, mine: Tensor, number: int) -> Tensor:
        """One Adam step on a global batch of which this worker holds ``mine``; returns the summed losses and the count."""
        settings, seed, features = self.plan.config.train.mapping, self.plan.config.seed, self.features
        product = self.product[mine]
        clean = features.of(product)
        noise = dropout.normal_noise(dropout.keys(seed, number + _STAGE, product), features.dim) * features.deviation
        embedding = self._embedding(clean + settings.noise * noise, dropout.keys(seed, number, product))
        regression = (embedding - self.rows.embeddings[self.local[mine]]).square().sum() / self.variance
        reconstruction = torch.zeros(())
        if settings.objective != "regression":
            reconstruction = (self.decoder(embedding) - clean).square().sum() / features.variance
        self.optimizer.zero_grad()
        (reconstruction if settings.objective == "reconstruction" else reconstruction + regression).backward()
        losses = torch.stack([reconstruction.to(clean), regression, clean.new_tensor(len(mine))]).detach()
        losses = self.workers.total_gradients(self.encoder, losses, "encoder")
        if losses[-1]:
            for parameter in self.encoder.parameters():
                assert parameter.grad is not None
                parameter.grad /= losses[-1]
            self.optimizer.step()
        return losses.double().cpu()

    def _embedding(self, features: Tensor, dropout_key: Tensor | None = None) -> Tensor:
        embedding: Tensor = self.center + self.spread * self.encoder(features, dropout_key)
        return embedding

    def map(self, product: Tensor, batch: int = 4096) -> Tensor:
        """[n, D] embeddings of products by their pictures."""
        with torch.no_grad():
            return (
                torch.cat([self._embedding(self.features.of(part)) for part in product.split(batch)])
                if len(product)
                else (self.rows.values.new_empty(0, self.rows.dim))
            )


def cold_products(plan: Plan, workers: Workers, features: Features, device: torch.device) -> Tensor:
    """Cold products with a picture that this worker maps, as product numbers."""
    nodes = torch.from_numpy(np.arange(plan.users + plan.warm, plan.users + plan.products)).to(device)
    product = nodes[nodes % workers.size == workers.index] - plan.users
    return product[features.has(product)]
