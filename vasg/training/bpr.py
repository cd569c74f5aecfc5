"""bpr and vbpr, baselines and terms of the score: matrix factorisation from pairwise ranking, without and with pictures.

BPR (Rendle et al. 2009) and VBPR (He and McAuley 2016): a purchase (u, i) should outrank (u, j), j not bought::

    x_ui = beta_i + gamma_u . gamma_i + theta_u . (E f_i) + beta' . f_i

with 20 factors gamma and 100 visual factors theta as in the paper's comparison. Stochastic gradient descent over triples;
E and beta', which every triple touches, take one Adagrad step for a batch of them. Features enter as their principal
components: E lives in the space they span anyway, and a triple costs an eighth.
"""

from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vasg import randomness, sampled_auc
from vasg.config import Pairwise
from vasg.features.components import fitted_products, principal_components
from vasg.machine.compiled import njit

_FACTORS, _VISUAL = 20, 100
_COMPONENTS = 512  # of the features
_BATCH = 1024  # triples
_CHECKED = 2  # epochs from one look at the validation pairs to the next
_VISUAL_LEARNING_RATE = 0.02
_START = 0.1  # standard deviation of the factors

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Search:
    """How long training goes on and with what; validation pairs choose among the strengths of regularisation."""

    learning_rate: float
    epochs: int  # at most
    patience: int  # looks at the validation pairs that find it no better than before
    regularisation: tuple[float, ...]


# without pictures the tastes of users begin to show long after the popularity of products has been learned
_BPR = Search(0.1, 200, 20, (0.3, 0.1, 0.03, 0.01))
_VBPR = Search(0.05, 40, 3, (0.1, 0.03, 0.01, 0.003))


@dataclass(frozen=True)
class Validation:
    """Pairs [n, 2] of user and product, candidates [m], and which of them the pair's user knows [n, m] bool."""

    pairs: NDArray[np.int64]
    candidates: NDArray[np.int64]
    known: NDArray[np.bool_]

    def auc(self, user: Floats, product: Floats) -> float:
        """AUC of the pairs by vectors of users [U, d] and products [P, d]."""
        taste = user[self.pairs[:, 0]]
        own = np.einsum("nd,nd->n", taste, product[self.pairs[:, 1]])
        return sampled_auc.auc(own, taste @ product[self.candidates].T, self.known)


@dataclass
class Model:
    """Parameters; ``looks`` [P, k] are the products' pictures, k = 0 for bpr."""

    looks: Floats
    gamma_user: Floats  # [U, 20]
    gamma_product: Floats  # [P, 20]
    bias: Floats  # [P]
    theta: Floats  # [U, 100]
    embedding: Floats  # [k, 101]: E transposed, and beta' as its last column
    squares: Floats  # [k, 101] of Adagrad

    def vectors(self, warm: int) -> tuple[Floats, Floats]:
        """Rows of users and products whose inner product is x; a cold product has the mean of what only purchases tell."""
        gamma, bias = self.gamma_product.copy(), self.bias.copy()
        gamma[warm:], bias[warm:] = gamma[:warm].mean(0), bias[:warm].mean()
        seen = self.looks @ self.embedding
        user = np.column_stack([self.gamma_user, self.theta, np.ones(len(self.theta), np.float32)])
        return user, np.column_stack([gamma, seen[:, :-1], bias + seen[:, -1]])


def bpr(
    pairs: NDArray[np.int64], users: int, warm: int, looks: Floats, held_out: Validation, given: Pairwise, seed: int,
    threads: int = 1, stop: Event | None = None,
) -> tuple[Floats, Floats, Pairwise]:  # fmt: skip
    """Train on ``pairs`` [n, 2] of user and warm product (from 0) with ``looks`` [P, k], k = 0 for plain BPR.

    Returns vectors of users [U, d] and products [P, d] whose inner product is the score, and the strength of
    regularisation and number of epochs, which are those best on the validation pairs, ``given`` ones without any. As many
    strengths as ``threads`` are tried at a time, with the same result. Raises CancelledError after the epoch in which
    ``stop`` is set.
    """
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    stop, search = stop or Event(), _search(looks)
    if not len(held_out.pairs):
        model = start(users, looks, seed)
        for epoch in range(given.epochs):
            run_epoch(model, pairs, warm, epoch, given.regularisation, seed, stop)
        return *model.vectors(warm), given

    def attempt(regularisation: float) -> tuple[float, Floats, Floats, Pairwise]:
        """AUC and vectors of the best epoch with this strength of regularisation, and which that was."""
        model, in_vain = start(users, looks, seed), 0
        best = (-1.0, np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32), Pairwise())
        for epoch in range(search.epochs):
            run_epoch(model, pairs, warm, epoch, regularisation, seed, stop)
            if (epoch + 1) % _CHECKED:
                continue
            user, product = model.vectors(warm)
            auc = held_out.auc(user, product)
            found = (auc, user, product, Pairwise(epoch + 1, regularisation))
            best, in_vain = (found, 0) if auc > best[0] else (best, in_vain + 1)
            if in_vain == search.patience:
                break
        return best

    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(attempt, search.regularisation))
    _, user, product, chosen = max(found, key=lambda one: one[0])
    return user, product, chosen


def _search(looks: Floats) -> Search:
    return _VBPR if looks.shape[1] else _BPR


def components(features: NDArray[Any], has_feature: NDArray[np.bool_], warm: int, seed: int) -> Floats:
    """[P, k] features as at most 512 principal components, of mean square length 1 over warm products; 0 without one."""
    looks = principal_components(features, has_feature, warm, _COMPONENTS, seed, lambda rows: rows.astype(np.float32))
    length = np.square(looks[fitted_products(has_feature, warm)]).sum(1)
    if looks.size:
        looks /= max(float(np.sqrt(length.mean())), 1e-12)
    return looks


def start(users: int, looks: Floats, seed: int) -> Model:
    """An untrained model of ``users`` and of the products with the components ``looks`` [P, k] (k = 0: bpr)."""
    products, size = looks.shape
    visual = _VISUAL if size else 0

    def drawn(purpose: int, rows: int, columns: int) -> Floats:
        values = randomness.normal(seed, "bpr", (purpose << 32) + np.arange(rows)[:, None], np.arange(columns))
        small: Floats = (_START * values).astype(np.float32)
        return small

    return Model(
        looks, drawn(0, users, _FACTORS), drawn(1, products, _FACTORS), np.zeros(products, np.float32),
        drawn(2, users, visual), np.zeros((size, visual + 1), np.float32), np.full((size, visual + 1), 1e-8, np.float32),
    )  # fmt: skip


def run_epoch(
    model: Model, pairs: NDArray[np.int64], warm: int, epoch: int, regularisation: float, seed: int, stop: Event
) -> None:
    """One pass over the purchases, each against a product its user did not buy, unless ``stop`` is set."""
    if stop.is_set():
        raise CancelledError
    order = randomness.permutation(seed, "bpr", (3 << 32) + epoch, len(pairs))
    negative = _not_bought(pairs, warm, epoch, seed)[order]
    user, positive = (np.ascontiguousarray(column) for column in pairs[order].T)
    _descend(
        user, positive, negative, model.looks, model.gamma_user, model.gamma_product, model.bias, model.theta,
        model.embedding, model.squares, np.float32(_search(model.looks).learning_rate), np.float32(regularisation),
    )  # fmt: skip


def _not_bought(pairs: NDArray[np.int64], warm: int, epoch: int, seed: int) -> NDArray[np.int64]:
    """[n] a warm product for each pair that its user did not buy in train (after three draws: any)."""
    bought = pairs[:, 0] * warm + pairs[:, 1]  # ascending
    negative = np.zeros(len(pairs), np.int64)
    again = np.arange(len(pairs))
    for attempt in range(3):
        counter = ((4 + attempt) << 32) + epoch
        negative[again] = randomness.integers(seed, "bpr", counter, again, warm)
        key = pairs[again, 0] * warm + negative[again]
        place = np.minimum(np.searchsorted(bought, key), len(bought) - 1)
        again = again[bought[place] == key]
    return negative


@njit(nogil=True, cache=True)
def _descend(
    user: Any, positive: Any, negative: Any, looks: Any, gamma_user: Any, gamma_product: Any, bias: Any, theta: Any,
    embedding: Any, squares: Any, rate: Any, regularisation: Any,
) -> None:  # fmt: skip
    """Gradient steps on -log sigma(x_ui - x_uj), batch by batch; compiled whole, so that several can run at a time."""
    visual_rate = np.float32(_VISUAL_LEARNING_RATE)
    buffer = np.empty((_BATCH, looks.shape[1]), np.float32)
    pulls = np.empty((_BATCH, embedding.shape[1]), np.float32)
    for begin in range(0, user.size, _BATCH):
        end = min(begin + _BATCH, user.size)
        u, i, j = user[begin:end], positive[begin:end], negative[begin:end]
        difference, pull = buffer[: u.size], pulls[: u.size]
        for t in range(u.size):
            one, other = looks[i[t]], looks[j[t]]
            for k in range(one.size):
                difference[t, k] = one[k] - other[k]
        seen = np.dot(difference, embedding) if len(embedding) else np.zeros(pull.shape, np.float32)
        _triples(u, i, j, seen, gamma_user, gamma_product, bias, theta, rate, regularisation, pull)
        if not len(embedding):
            continue
        ascent = np.dot(difference.T, pull)
        for k in range(embedding.shape[0]):
            for v in range(embedding.shape[1]):
                g = ascent[k, v] - regularisation * embedding[k, v]
                squares[k, v] += g * g
                embedding[k, v] += visual_rate * g / np.sqrt(squares[k, v])


@njit(nogil=True, cache=True, fastmath=True)
def _triples(
    users: Any, positives: Any, negatives: Any, seen: Any, gamma_user: Any, gamma_product: Any, bias: Any, theta: Any,
    rate: Any, regularisation: Any, pull: Any,
) -> None:  # fmt: skip
    """Steps triple by triple, with E and beta' as they are.

    ``seen`` [b, V + 1] is E (f_i - f_j), last beta' (f_i - f_j). ``pull`` [b, V + 1] becomes what (f_i - f_j) adds to the
    ascent of E and beta': sigma(x_uj - x_ui) times theta_u before the step, last 1.
    """
    visual = theta.shape[1]
    for t in range(users.size):
        u, i, j = users[t], positives[t], negatives[t]
        x = bias[i] - bias[j] + seen[t, visual]
        for k in range(gamma_user.shape[1]):
            x += gamma_user[u, k] * (gamma_product[i, k] - gamma_product[j, k])
        for k in range(visual):
            x += theta[u, k] * seen[t, k]
        s = np.float32(1.0) / (np.float32(1.0) + np.exp(x))
        pull[t, visual] = s
        bias[i] += rate * (s - regularisation * bias[i])
        bias[j] -= rate * (s + regularisation * bias[j])
        for k in range(gamma_user.shape[1]):
            a, p, q = gamma_user[u, k], gamma_product[i, k], gamma_product[j, k]
            gamma_user[u, k] += rate * (s * (p - q) - regularisation * a)
            gamma_product[i, k] += rate * (s * a - regularisation * p)
            gamma_product[j, k] -= rate * (s * a + regularisation * q)
        for k in range(visual):
            pull[t, k] = s * theta[u, k]
            theta[u, k] += rate * (s * seen[t, k] - regularisation * theta[u, k])
