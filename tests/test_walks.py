"""Graph, alias tables, kernel and layout of the walks against slow oracles in plain Python."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vasg.errors import DataError
from vasg.randomness import integers, stream_key
from vasg.walks import graph, kernel, layout, partitioned

MASK = 2**64 - 1


def mix(z: int) -> int:
    z &= MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def number(seed: int, walk_id: int, step: int) -> int:
    """The random number of a step, in Python integers. Stream 1 is walk_step."""
    golden = 0x9E3779B97F4A7C15
    key = mix(mix(mix(seed) + golden) + walk_id * golden)
    return mix(key + (step + 1) * golden)


def oracle(
    neighbours: dict[int, list[int]], walk_id: int, walks_per_node: int, walk_length: int, seed: int
) -> list[int]:
    """One walk with uniform transitions; ``neighbours`` are sorted."""
    walk = [walk_id // walks_per_node]
    for step in range(walk_length - 1):
        choices = neighbours[walk[-1]]
        walk.append(choices[(number(seed, walk_id, step) >> 32) * len(choices) >> 32])
    return walk


def adjacency(pairs: list[tuple[int, int]]) -> dict[int, list[int]]:
    found = defaultdict(list)
    for user, product in sorted(pairs):
        found[user].append(product)
        found[product].append(user)
    return {node: sorted(others) for node, others in found.items()}


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, int]]]:
    """(U, V, train pairs): stars, degree-1 nodes, one product, users without a pair; every product has one."""
    users, products = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    pairs = draw(st.sets(st.tuples(st.integers(0, users - 1), st.integers(0, products - 1)), min_size=1))
    pairs |= {(draw(st.integers(0, users - 1)), product) for product in range(products)}
    ordered = draw(st.permutations(sorted(pairs)))
    return users, users + products, [(user, users + product) for user, product in ordered]


def batches(pairs: list[tuple[int, int]], ratings: list[float] | None = None, size: int = 5) -> graph.Batches:
    """The pairs as the table interactions, in small batches, with a pair of the split test_warm after each."""
    ratings = ratings or [1.0] * len(pairs)

    def read() -> Iterator[pa.RecordBatch]:
        for at in range(0, len(pairs), size):
            chunk = pairs[at : at + size]
            users, products = [u for u, _ in chunk], [p for _, p in chunk]
            yield pa.record_batch(
                [
                    pa.array([*users, users[0]]), pa.array([*products, products[0]]),
                    pa.array([*ratings[at : at + size], -1.0], pa.float32()), pa.array(["train"] * len(chunk) + ["test_warm"]),
                ],
                ["user", "product", "rating", "split"],
            )  # fmt: skip

    return read


def build(users: int, nodes: int, pairs: list[tuple[int, int]], ratings: list[float] | None = None) -> graph.Graph:
    read, weighted = batches(pairs, ratings), ratings is not None
    return graph.build(read, graph.count_degrees(read, users, nodes, weighted), users, weighted)


def walk(network: graph.Graph, ids: np.ndarray, walks_per_node: int, walk_length: int, seed: int) -> np.ndarray:
    out = np.empty((len(ids), walk_length), network.indices.dtype)
    stream = stream_key(seed, "walk_step")
    kernel.walk(network.indptr, network.indices, network.threshold, network.alias, ids, walks_per_node, stream, out)
    return out


@settings(deadline=None)
@given(networks())
def test_graph_holds_the_train_pairs_in_order(drawn: tuple[int, int, list[tuple[int, int]]]) -> None:
    users, nodes, pairs = drawn
    network, expected = build(users, nodes, pairs), adjacency(pairs)
    for node in range(nodes):
        found = network.indices[network.indptr[node] : network.indptr[node + 1]].tolist()
        assert found == expected.get(node, [])
    weighted = build(users, nodes, pairs, [1.0] * len(pairs))
    degrees = graph.count_degrees(batches(pairs), users, nodes, False)
    for made, by_rating in ((network, False), (weighted, True)):
        assert graph.csr_bytes(degrees, by_rating) == sum(array.nbytes for array in made.arrays().values())


@settings(deadline=None)
@given(networks(), st.integers(0, 2**63 - 1), st.integers(1, 15), st.integers(2, 9))
def test_kernel_walks_as_the_oracle_does(
    drawn: tuple[int, int, list[tuple[int, int]]], seed: int, walks_per_node: int, walk_length: int
) -> None:
    users, nodes, pairs = drawn
    network, neighbours = build(users, nodes, pairs), adjacency(pairs)
    ids = np.array([i for node in neighbours for i in range(node * walks_per_node, (node + 1) * walks_per_node)])
    expected = [oracle(neighbours, int(i), walks_per_node, walk_length, seed) for i in ids]
    assert walk(network, ids, walks_per_node, walk_length, seed).tolist() == expected


def test_kernel_draws_the_numbers_of_the_numpy_functions() -> None:
    network = build(3, 8, [(u, p) for u in range(3) for p in range(3, 8)])
    ids = np.arange(300)
    first = integers(7, "walk_step", ids, 0, 5) + 3
    assert walk(network, ids, 100, 2, 7)[:, 1].tolist() == first.tolist()


def test_wide_node_numbers_walk_the_same() -> None:
    narrow = build(2, 5, [(0, 2), (0, 3), (0, 4), (1, 3)])
    wide = graph.Graph(narrow.indptr.astype(np.int64), narrow.indices.astype(np.int64))
    ids = np.arange(0, 5 * 30)
    assert walk(wide, ids, 30, 12, 3).tolist() == walk(narrow, ids, 30, 12, 3).tolist()


def test_uniform_transitions_are_uniform() -> None:
    products = 7
    network = build(1, 1 + products, [(0, 1 + p) for p in range(products)])
    walks = walk(network, np.arange(2_000), 2_000, 21, 5)  # a star: every other node is a draw
    counts = np.bincount(walks[:, 1::2].ravel() - 1, minlength=products)
    expected = counts.sum() / products
    assert counts.sum() == 20_000
    assert ((counts - expected) ** 2 / expected).sum() < 22.5  # chi-square, 6 degrees of freedom, p = 0.001
    after = np.bincount(walks[:, 1] * 10 + walks[:, 3])  # consecutive draws of a walk are independent
    after = after[after > 0]
    assert len(after) == products**2
    assert ((after - 2_000 / 49) ** 2 / (2_000 / 49)).sum() < 84.1  # 48 degrees of freedom, p = 0.001


@settings(deadline=None)
@given(networks(), st.data())
def test_alias_tables_give_every_neighbour_its_share(
    drawn: tuple[int, int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    users, nodes, pairs = drawn
    rating = st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 1e-3, 1e4])
    ratings = data.draw(st.lists(rating, min_size=len(pairs), max_size=len(pairs)))
    network, by_pair = build(users, nodes, pairs, ratings), dict(zip(pairs, ratings, strict=True))
    assert network.threshold is not None
    assert network.alias is not None
    for node, others in adjacency(pairs).items():
        begin, share = int(network.indptr[node]), Counter()
        for slot in range(begin, begin + len(others)):
            keeps = int(network.threshold[slot]) / 2**32
            share[int(network.indices[slot])] += keeps / len(others)
            share[int(network.alias[slot])] += (1 - keeps) / len(others)
        weights = [np.float32(by_pair.get((node, o)) or by_pair[(o, node)]) for o in others]
        for other, weight in zip(others, weights, strict=True):
            assert share[other] == pytest.approx(weight / np.sum(weights, dtype=np.float64), abs=1e-8)


def test_rating_transitions_follow_the_tables_and_the_ratings() -> None:
    ratings = [1.0, 2.0, 5.0, 2.0]
    network = build(1, 5, [(0, 1), (0, 2), (0, 3), (0, 4)], ratings)
    walks = walk(network, np.arange(20_000), 20_000, 3, 11)
    for walk_id in range(200):
        drawn = number(11, walk_id, 0)
        slot = (drawn >> 32) * 4 >> 32
        expected = network.indices[slot] if drawn & 0xFFFFFFFF < network.threshold[slot] else network.alias[slot]
        assert walks[walk_id, 1] == expected
    found = np.bincount(walks[:, 1], minlength=5)[1:] / 20_000
    assert found == pytest.approx(np.array(ratings) / 10, abs=0.012)
    assert (walks[:, 2] == 0).all()


@settings(deadline=None)
@given(st.integers(1, 5_000), st.integers(1, 8), st.integers(1, 200))
def test_layout_covers_every_position_once_in_equal_row_groups(walks: int, lanes: int, row_group_size: int) -> None:
    if walks < lanes:
        with pytest.raises(DataError, match="too small"):
            layout.plan(walks, lanes, row_group_size, 0, "user")
        return
    plan = layout.plan(walks, lanes, row_group_size, 0, "user")
    files = [plan.row_groups(file) for file in range(plan.files)]
    sizes = [end - begin for row_groups in files for begin, end in row_groups]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert max(sizes) <= max(row_group_size, 2)
    assert plan.files % lanes == 0
    everywhere = []
    for group in range(plan.files // lanes):
        of_group = files[group * lanes : (group + 1) * lanes]
        assert len({len(row_groups) for row_groups in of_group}) == 1
        assert 1 <= len(of_group[0]) <= 64
        everywhere += [rows for macro_row in zip(*of_group, strict=True) for rows in macro_row]  # lane by lane
    assert everywhere[0][0] == 0
    assert everywhere[-1][1] == walks
    assert all(before[1] == after[0] for before, after in pairwise(everywhere))
    found = plan.files_of(0, walks)
    assert plan.files_of(walks // 3, walks // 3 + 1).tolist() == found[walks // 3 : walks // 3 + 1].tolist()
    for file, row_groups in enumerate(files):
        assert all((found[begin:end] == file).all() for begin, end in row_groups)


def test_the_number_of_files_is_bounded() -> None:
    plan = layout.plan(10**10, 4, 16_384, 0, "user")
    assert 4000 < plan.files <= 4096


@settings(deadline=None)
@given(st.integers(1, 3_000), st.integers(0, 5))
def test_order_is_a_permutation(walks: int, seed: int) -> None:
    plan = layout.plan(walks, 1, 100, seed, "product")
    numbers = plan.walk_numbers(0, walks)
    assert sorted(numbers.tolist()) == list(range(walks))
    assert plan.walk_numbers(walks // 3, walks).tolist() == numbers[walks // 3 :].tolist()


@settings(deadline=None)
@given(st.integers(10**9, 10**12), st.floats(0, 1), st.integers(1, 300))
def test_order_is_exact_for_huge_numbers_of_walks(walks: int, at: float, count: int) -> None:
    plan = layout.plan(walks, 4, 16_384, 1, "user")
    begin = min(int(at * walks), walks - count)
    expected = [(plan.stride * p + plan.offset) % walks for p in range(begin, begin + count)]
    assert plan.walk_numbers(begin, begin + count).tolist() == expected
    last = plan.row_groups(plan.files - 1)[-1]
    assert last[1] == walks
    assert plan.files_of(last[0], walks).tolist() == [plan.files - 1] * (last[1] - last[0])


def test_every_row_group_is_a_spread_sample_and_the_seed_decides_which() -> None:
    plan = layout.plan(10_000, 4, 500, 0, "user")
    for begin, end in plan.row_groups(0):
        gaps = np.diff(np.sort(plan.walk_numbers(begin, end)))
        assert gaps.max() <= 4 * 10_000 / (end - begin)
    assert plan.offset != layout.plan(10_000, 4, 500, 1, "user").offset
    assert plan.offset != layout.plan(10_000, 4, 500, 0, "product").offset


def test_nodes_without_a_train_pair_start_no_walk() -> None:
    degrees = graph.count_degrees(batches([(1, 3), (2, 3), (1, 4)]), 3, 5, False)
    starts = layout.start_nodes(degrees, 3)
    assert {kind: nodes.tolist() for kind, nodes in starts.items()} == {"user": [1, 2], "product": [3, 4]}
    assert layout.walk_ids(np.array([0, 5, 2, 3]), starts["user"], 3).tolist() == [3, 8, 5, 6]


def test_node_counts() -> None:
    read = [
        pa.record_batch(
            [pa.array(["user", "user", "product"]), pa.array([False, False, False])], ["node_type", "is_cold"]
        ),
        pa.record_batch([pa.array(["product", "product"]), pa.array([False, True])], ["node_type", "is_cold"]),
    ]
    assert graph.count_nodes(lambda: iter(read)) == (2, 4)


@pytest.mark.parametrize(
    ("pairs", "ratings", "message"),
    [
        ([], [], "no pair has the split train"),
        ([(0, 9)], [1.0], "outside"),
        ([(2, 3)], [1.0], "outside"),
        ([(0, 2), (1, 3)], [1.0, 0.0], r"interactions: rating 0\.0 of user 1 and product 3"),
        ([(0, 2)], [float("nan")], "not a positive number"),
        ([(0, 2)], [float("inf")], "not a positive number"),
    ],
)
def test_wrong_pairs_are_refused(pairs: list[tuple[int, int]], ratings: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        graph.count_degrees(batches(pairs, ratings), 2, 4, True)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 7))
def test_tables_of_whole_nodes(degrees: list[int], size: int) -> None:
    node = np.repeat(np.arange(len(degrees)), degrees)
    rows = pa.table({"node": node, "row": np.arange(len(node))})
    tables = list(partitioned._whole_nodes(rows.to_batches(max_chunksize=size)))
    assert pa.concat_tables(tables).combine_chunks().equals(rows)
    ends = [table["node"].to_pylist() for table in tables]
    assert all(before[-1] != after[0] for before, after in pairwise(ends))
