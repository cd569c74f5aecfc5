"""Vectors of products in two dimensions, with their pictures (paper, section 5, figure 2)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from vasg.analysis.drawing import BLUE, GREEN, GREY, ORANGE, PINK, framed
from vasg.analysis.inputs import Inputs
from vasg.analysis.section import Section
from vasg.analysis.thumbnails import thumbnails
from vasg.config import Config
from vasg.randomness import hash64, permutation, seed_of_32_bits
from vasg.rows import unit

PRODUCTS, USERS = 200, 4  # as in the paper
_PERPLEXITY = 30.0  # as in the paper
_FEWEST, _MOST = 20, 60  # purchases of a user in the picture, where there are such users
_COLOURS = (BLUE, ORANGE, GREEN, PINK)
_SIDE = 56  # pixels of a thumbnail

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Plane:
    """Products at places in the plane; with ``users``, the ``owner`` [n] is the position of the buyer among them."""

    product: NDArray[np.int64]  # [n]
    place: Floats  # [n, 2]
    axes: tuple[str, str]
    users: NDArray[np.int64]  # [0] where it is not about users
    owner: NDArray[np.int64]  # [n]
    held_out: NDArray[np.bool_]  # [n] not in the split train


def principal_plane(inputs: Inputs, seed: int) -> Plane:
    """At most 200 products drawn evenly; the axes are the first two principal components of all products' vectors."""
    products = np.flatnonzero(inputs.has_product)
    pca = PCA(2, random_state=seed_of_32_bits(seed)).fit(unit(inputs.products[products]))
    chosen = products[permutation(seed, "projection", 0, len(products))[:PRODUCTS]]
    first, second = (f"{share:.0%} of the variance" for share in pca.explained_variance_ratio_)
    labels = f"first principal component, {first}", f"second principal component, {second}"
    nothing = np.zeros(len(chosen), np.int64)
    return Plane(
        chosen, pca.transform(unit(inputs.products[chosen])), labels, nothing[:0], nothing, nothing.astype(bool)
    )


def users_plane(inputs: Inputs, seed: int) -> Plane | None:
    """t-SNE of what four users bought in any split; a product that two of them bought counts for the first.

    None where that is fewer than three products, or all with the same vector.

    The users are drawn from those with 20 to 60 products, if there are enough; otherwise those nearest to that.
    """
    purchases = inputs.purchases
    known = inputs.has_product[purchases.product]
    count = np.bincount(purchases.user[known], minlength=purchases.users)
    distance = np.maximum(np.maximum(_FEWEST - count, count - _MOST), 0)
    users = np.lexsort((hash64(seed, "projection", 1, np.arange(len(count))), distance))[:USERS]
    rows = np.concatenate([np.flatnonzero(known & (purchases.user == user)) for user in users])
    rows = rows[np.sort(np.unique(purchases.product[rows], return_index=True)[1])]
    vectors = unit(inputs.products[purchases.product[rows]])
    if len(rows) < 3 or not np.ptp(vectors, axis=0).any():
        return None
    owner = np.argmax(purchases.user[rows][:, None] == users, axis=1)
    # The exact method: places do not depend on the number of threads.
    tsne = TSNE(2, perplexity=min(_PERPLEXITY, (len(rows) - 1) / 3), method="exact", random_state=seed_of_32_bits(seed))
    place = tsne.fit_transform(vectors)
    return Plane(purchases.product[rows], place, ("t-SNE", "t-SNE"), users, owner, ~purchases.of("train")[rows])


def neighbour_share(vectors: Floats, owner: NDArray[np.int64], of: NDArray[np.bool_]) -> tuple[float, float]:
    """How often the nearest (cosine) of the other rows has the same owner, over the rows ``of``; and by chance."""
    rows = unit(vectors)
    cosine = rows @ rows.T
    np.fill_diagonal(cosine, -np.inf)
    same = owner[:, None] == owner
    by_chance = (same.sum(axis=1) - 1) / (len(owner) - 1)
    nearest = same[np.arange(len(owner)), cosine.argmax(axis=1)]
    return float(nearest[of].mean()), float(by_chance[of].mean())


def section(inputs: Inputs, config: Config) -> Section:
    """The analysis for the report."""
    title = "Products in two dimensions"
    bought = np.unique(inputs.purchases.product[inputs.has_product[inputs.purchases.product]])
    if len(bought) < 3 or inputs.products.shape[1] < 2:
        return Section(title, "Not drawn: this needs three bought products with vectors of two numbers or more.")
    principal, users = principal_plane(inputs, config.seed), users_plane(inputs, config.seed)
    text = (
        f"First picture: {len(principal.product)} products, drawn evenly, on the first two principal components of all "
        "products' vectors, scaled to length 1, without a product's bias. Products that look alike should lie together.\n\n"
    )
    if users is None:
        text += (
            "Second picture: not drawn: the users who would be in it bought fewer than three products together, or the "
            "vectors of these are all the same."
        )
        return Section(title, text, [draw(inputs, config, principal)])
    return Section(
        title, text + _of_users(inputs, users), [draw(inputs, config, plane) for plane in (principal, users)]
    )


def _of_users(inputs: Inputs, users: Plane) -> str:
    asked = []
    for name, of in (("trained", ~users.held_out), ("held-out", users.held_out)):
        if of.any():
            share, chance = neighbour_share(inputs.products[users.product], users.owner, of)
            asked.append(f"{share:.0%} of the {of.sum()} {name} ones (by chance {chance:.0%})")
    return (
        f"Second picture: t-SNE (perplexity {_PERPLEXITY:.0f}) of the {len(users.product)} products that {len(users.users)} "
        "users bought, one colour a user; a product that two of them bought has the first one's. Users are drawn from "
        f"those with {_FEWEST} to {_MOST} products. A dashed frame, or a hollow dot, marks what the model did not see in "
        "training. t-SNE keeps neighbours but not distances; in the vectors themselves the nearest of these products has "
        f"the same buyer for {' and '.join(asked)}."
    )


def draw(inputs: Inputs, config: Config, plane: Plane) -> Figure:
    """Thumbnails at their places, framed in the colour of the buyer; dots where there is no picture."""
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    axes = figure.subplots()
    ids = [inputs.purchases.product_ids[int(product)].as_py() for product in plane.product]
    pictures = thumbnails(config, ids, _SIDE)
    colours = _COLOURS if len(plane.users) else (GREY,)
    for name, place, owner, held_out in zip(ids, plane.place, plane.owner, plane.held_out, strict=True):
        if name in pictures:
            framed(axes, place, pictures[name], colours[owner], bool(held_out))
        else:
            axes.scatter(
                place[0], place[1], s=18, color=colours[owner], facecolors="none" if held_out else colours[owner]
            )
    axes.update_datalim(plane.place)
    axes.autoscale_view()
    axes.set_xlabel(plane.axes[0])
    axes.set_ylabel(plane.axes[1])
    axes.grid(visible=False)
    if len(plane.users):
        axes.set_xticks([])  # places of t-SNE have no unit
        axes.set_yticks([])
        figure.legend(handles=_legend(plane, bool(pictures)), loc="outside lower center", ncols=5, fontsize=8.5)
    return figure


def _legend(plane: Plane, pictures: bool) -> list[Any]:
    handles = [
        Line2D([], [], color=_COLOURS[i], linewidth=3, label=f"user {i + 1}: {(plane.owner == i).sum()} products")
        for i in range(len(plane.users))
    ]
    mark: dict[str, Any] = (
        {"linestyle": (0, (2, 1))} if pictures else {"linestyle": "none", "marker": "o", "mfc": "none"}
    )
    return [*handles, Line2D([], [], color=GREY, label="held out", **mark)]
