"""Is the embedding space healthy? Mean cosine, effective rank, correlation with popularity, and AUC on validation pairs."""

import numpy as np
import torch
from numpy.typing import NDArray

from vasg import randomness
from vasg.rows import unit
from vasg.training.plan import Plan
from vasg.training.sharded import ShardedRows
from vasg.training.terms import trained
from vasg.training.validation import Sample

_SAMPLE = 1000


def figures(plan: Plan, rows: ShardedRows) -> dict[str, float]:
    """Mean cosine of pairs of warm products, effective rank of their embeddings, and how far popularity explains scores.

    On a fixed sample of warm products and users. The effective rank is exp(entropy of the normalised singular values)
    (Roy and Vetterli 2007). ``popularity_correlation`` is Pearson's between the log of a product's train pairs and its
    mean score over users. ``vectors_auc`` is that of the sampled validation pairs, if there are any, by these embeddings alone:
    whether more epochs would help. All workers must call this together.
    """
    products = plan.users + _sample(plan.config.seed, 0, plan.warm)
    users = _sample(plan.config.seed, 1, plan.users)
    fetched = rows.fetch(torch.from_numpy(np.concatenate([users, products])))
    values = fetched.rows[fetched.index, :-1].double().cpu()
    user, product = values[: len(users)], values[len(users) :]
    directions = torch.nn.functional.normalize(product)
    n = len(directions)
    mean_cosine = float((directions.sum(0).square().sum() - n) / max(n * (n - 1), 1))
    singular = torch.linalg.svdvals(product)
    share = singular / singular.sum().clamp(min=1e-30)
    rank = float(torch.exp(-(share * torch.log(share.clamp(min=1e-30))).sum()))
    popularity = np.log1p(np.load(plan.degree, mmap_mode="r")[products])
    scores = (product @ user.mean(0)).numpy()
    varies = n > 1 and popularity.std() > 0 and scores.std() > 0
    correlation = float(np.corrcoef(scores, popularity)[0, 1]) if varies else 0.0
    found = {"mean_cosine": mean_cosine, "effective_rank": rank, "popularity_correlation": correlation}
    return found | _auc(plan, rows)


def _auc(plan: Plan, rows: ShardedRows) -> dict[str, float]:
    pairs, vectors = Sample(plan, rows.workers), trained(plan, rows)
    if not pairs:
        return {}
    if plan.config.train.objective == "paper":  # whose score is the cosine
        return {"vectors_auc": pairs.auc(pairs.scores(lambda nodes: unit(vectors(nodes))))}
    return {"vectors_auc": pairs.auc(pairs.scores(vectors))}


def _sample(seed: int, which: int, size: int) -> NDArray[np.int64]:
    chosen: NDArray[np.int64] = np.unique(
        randomness.integers(seed, "collapse", which, np.arange(min(size, _SAMPLE)), size)
    )
    return chosen
