"""Bought -> recommended, for a few users drawn by the seed."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vasg.config import Config
from vasg.randomness import hash64
from vasg.report.page import Chapter, Strip, Strips, Tile, thumbnail_uri
from vasg.report.run import Run
from vasg.scoring.models import PUBLISHED

Thumbnails = Callable[[Config, list[str], int], dict[str, NDArray[np.uint8]]]

USERS, BOUGHT, PLACES = 8, 6, 8  # shown
_SIDE = 96  # pixels of a thumbnail


@dataclass
class _Lists:
    """What is known of one user: product ids, with what is said about each."""

    bought: list[Tile] = field(default_factory=list)
    held_out: list[Tile] = field(default_factory=list)
    recommended: list[tuple[int, Tile]] = field(default_factory=list)  # with ranks


def strips_chapter(run: Run, thumbnails: Thumbnails) -> Chapter:
    """One strip for each of at most USERS users who have a list."""
    nodes = run.warehouse.read_arrow("nodes")
    users = _draw(run, nodes.filter(pc.field("node_type") == "user"))
    lists = {str(user_id): _Lists() for user_id in users["id"].to_pylist()}
    _read_purchases(run, nodes, users, lists)
    _read_recommendations(run, users, lists)
    shown = {
        user_id: [
            (f"Bought: {min(BOUGHT, len(found.bought))} of {len(found.bought)}", found.bought[:BOUGHT]),
            ("Held out", found.held_out[:PLACES]),
            ("Recommended, best first", [tile for _, tile in sorted(found.recommended, key=lambda ranked: ranked[0])]),
        ]
        for user_id, found in lists.items()
    }  # fmt: skip
    wanted = sorted({tile.product_id for groups in shown.values() for _, tiles in groups for tile in tiles})
    pictures = {product: thumbnail_uri(pixels) for product, pixels in thumbnails(run.config, wanted, _SIDE).items()}
    strips = [
        Strip(
            user_id,
            [(heading, [_with_picture(tile, pictures) for tile in tiles]) for heading, tiles in groups if tiles],
        )
        for user_id, groups in shown.items()
    ]
    caption = (
        f"{len(strips)} users drawn by the seed, not chosen. Cold products, which nobody had bought in the training data, "
        "are marked. Held-out products were bought too, but training did not see them: below that of the test stands the share "
        "of products of its kind that are ranked below it for this user, rounded down. They are never recommended, because "
        "lists leave out whatever a user is known to have bought. Tables recommendations, interactions and pair_ranks."
    )
    without = (
        "" if pictures else " No pictures were found where the configuration says: products are shown by their ids."
    )
    return Chapter("Bought and recommended", [], [Strips(caption + without, strips)])


def _draw(run: Run, users: pa.Table) -> pa.Table:
    """Users with a list, by hash."""
    left_out = run.warehouse.read_arrow("uncovered").filter(pc.field("node_type") == "user")["id"]
    served = users.filter(pc.invert(pc.is_in(users["id"], value_set=left_out.cast(users["id"].type))))
    drawn = np.argsort(hash64(run.config.seed, "report", 0, served["node"].to_numpy()), kind="stable")[:USERS]
    return served.take(pa.array(drawn))


def _read_purchases(run: Run, nodes: pa.Table, users: pa.Table, lists: dict[str, _Lists]) -> None:
    """Fill ``bought`` and ``held_out`` from the tables interactions and pair_ranks."""
    outranked = _outranked(run, users)
    owner = dict(zip(users["node"].to_pylist(), users["id"].to_pylist(), strict=True))
    pairs = []
    for batch in run.warehouse.batches("interactions", ["user", "product", "split"]):
        pairs += batch.filter(pc.is_in(batch.column("user"), value_set=users["node"])).to_pylist()
    bought = nodes.filter(pc.is_in(nodes["node"], value_set=pa.array([row["product"] for row in pairs], pa.int64())))
    product = {row["node"]: row for row in bought.select(["node", "id", "is_cold"]).to_pylist()}
    for row in sorted(pairs, key=lambda row: (row["user"], row["product"])):
        node, found = product[row["product"]], lists[owner[row["user"]]]
        note = outranked.get((row["user"], row["product"]), row["split"].partition("_")[0])
        if row["split"] == "train":
            found.bought.append(Tile(node["id"]))
        else:
            found.held_out.append(Tile(node["id"], note=note, is_cold=node["is_cold"]))


def _outranked(run: Run, users: pa.Table) -> dict[tuple[int, int], str]:
    """What is said of the test pairs (nodes of user and product) of these users."""
    found: dict[tuple[int, int], str] = {}
    for batch in run.warehouse.batches(
        "pair_ranks", ["user", "product", "model", "candidates", "above", "tied", "candidate_count"]
    ):
        mine = pc.and_(pc.equal(batch.column("model"), PUBLISHED), pc.equal(batch.column("candidates"), "setting"))
        mine = pc.and_(mine, pc.is_in(batch.column("user"), value_set=users["node"]))
        for row in batch.filter(mine).to_pylist():
            if row["candidate_count"]:
                below = row["candidate_count"] - row["above"] - row["tied"]
                found[row["user"], row["product"]] = f"test: above {100 * below // row['candidate_count']} %"
    return found


def _read_recommendations(run: Run, users: pa.Table, lists: dict[str, _Lists]) -> None:
    for batch in run.warehouse.batches("recommendations", ["user_id", "rank", "product_id", "is_cold"]):
        chosen = pc.and_(
            pc.is_in(batch.column("user_id"), value_set=users["id"].cast(batch.column("user_id").type)),
            pc.less_equal(batch.column("rank"), PLACES),
        )
        for row in batch.filter(chosen).to_pylist():
            tile = Tile(row["product_id"], is_cold=row["is_cold"])
            lists[row["user_id"]].recommended.append((row["rank"], tile))


def _with_picture(tile: Tile, pictures: dict[str, str]) -> Tile:
    return Tile(tile.product_id, pictures.get(tile.product_id), tile.note, tile.is_cold)
