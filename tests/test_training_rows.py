"""Rows of a step compiled for a CPU against plain numpy; workers of one host among themselves."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vasg.training import rows_kernel
from vasg.training.host import Host
from vasg.training.row_optimizers import RowAdagrad
from vasg.training.sharded import distinct


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(np.int64, st.tuples(st.integers(0, 9), st.integers(1, 9)), elements=st.integers(0, 40)),
    st.integers(1, 5),
)
def test_distinct_nodes_come_by_owner_and_give_all_nodes_back(nodes: np.ndarray, owners: int) -> None:
    found, index, counts = distinct(torch.from_numpy(nodes), owners)
    assert np.array_equal(found[index].numpy(), nodes)
    assert sorted(found.tolist()) == np.unique(nodes).tolist()
    assert (found % owners).tolist() == np.repeat(np.arange(owners), counts).tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 6))
def test_compiled_rows_are_summed_pulled_and_stepped_as_written_out(seed: int, dim: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    drawn = lambda *shape: torch.from_numpy(generator.normal(size=shape).astype(np.float32))  # noqa: E731
    values, gradient, prior = drawn(8, dim + 1), drawn(count, dim + 2), drawn(8, dim) if seed % 2 else None
    rows, pull = torch.from_numpy(generator.permutation(8)[:count]), torch.from_numpy(generator.random(8, np.float32))
    names, repeated, _ = distinct(torch.from_numpy(generator.integers(0, 3, count)), 1)
    target, half = np.full((len(names), dim), np.nan, np.float32), count // 2
    parts = gradient[:, :dim].contiguous().numpy()
    filled = rows_kernel.merge(target, 0, repeated[:half].numpy(), parts[:half])
    assert rows_kernel.merge(target, filled, repeated[half:].numpy(), parts[half:]) == len(names)
    for row in range(len(names)):
        torch.testing.assert_close(torch.from_numpy(target[row]), gradient[repeated == row, :dim].sum(0))
    compiled, optimizer = values.clone(), RowAdagrad(values, pull, prior)
    at_once, other = values.clone(), RowAdagrad(values, pull, prior)
    sums, towards = np.zeros((8, 2)), np.zeros((8, dim)) if prior is None else prior.double().numpy()
    slow = values.double().numpy()
    for _ in range(2):
        optimizer.step(compiled, rows, gradient, 0.1)
        other.batched(at_once, rows, gradient, 0.1)
        for row, slope in zip(rows.tolist(), gradient.double().numpy(), strict=True):
            slope[:dim] += pull[row].item() * slope[dim + 1] * (slow[row, :dim] - towards[row])
            sums[row] += np.square(slope[:dim]).mean(), np.square(slope[dim])
            rate = np.repeat(0.1 / (np.sqrt(sums[row]) + 1e-8), [dim, 1])
            slow[row] -= rate * slope[: dim + 1]
    np.testing.assert_allclose(compiled.numpy(), slow, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(optimizer.state["sums"].numpy(), sums, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(at_once, compiled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.state["sums"], optimizer.state["sums"], rtol=1e-4, atol=1e-5)


def host(index: int, size: int, meet: Barrier, seen: list[int]) -> Host:
    """A worker of a host; ``allreduce`` gives the first number anybody has, which the rendezvous folder is named after."""

    def allreduce(values: torch.Tensor) -> torch.Tensor:
        seen.append(int(values[0]))
        meet.wait()
        return torch.tensor([max(seen)])

    return Host(index, size, allreduce)


@pytest.mark.parametrize("size", [2, 3])
def test_workers_of_a_host_exchange_and_add_up(size: int) -> None:
    before = set(Path(tempfile.gettempdir()).glob("vasg-host-*"))
    meet, seen, large = Barrier(size, timeout=60), list[int](), 70_000

    def work(index: int) -> tuple[object, ...]:
        this, rows, few = host(index, size, meet, seen), [], [index + 1] * size
        for step in range(4):  # worker w sends w + 1 rows to each, of a number that tells sender, receiver and step
            sent = torch.arange(size).repeat_interleave(index + 1) * 100 + index * 10 + step
            came, counts = this.alltoall(sent[:, None].expand(-1, 3), few)
            assert counts == [k + 1 for k in range(size)]
            rows.append(torch.cat(came)[:, 2].tolist())  # now: the next exchange may write over it
            order = torch.arange(len(sent)).flip(0)  # the same rows of a table that has them the other way round
            lent = this.lend(sent.flip(0)[:, None].expand(-1, 3).contiguous(), order, few, counts)
            assert lent[:, 0].tolist() == rows[-1]
        none = torch.cat(this.alltoall(torch.zeros(0, 3), [0] * size)[0])
        # the buffers grow
        sums = [this.allreduce(*(torch.arange(n) * (index + 1.0)).split([1, n - 1])) for n in (1, large)]
        return rows, none.shape, sums

    with ThreadPoolExecutor(size) as pool:
        found = list(pool.map(work, range(size)))
    for index, (rows, shape, sums) in enumerate(found):
        assert rows == [[index * 100 + k * 10 + step for k in range(size) for _ in range(k + 1)] for step in range(4)]
        assert shape == (0, 3)
        for n, total in zip((1, large), sums, strict=True):
            assert torch.equal(total, torch.arange(n) * size * (size + 1) / 2)
    assert set(Path(tempfile.gettempdir()).glob("vasg-host-*")) <= before  # nothing stays behind


def test_a_worker_that_is_gone_is_an_error_for_the_others() -> None:
    meet, seen = Barrier(2, timeout=60), list[int]()

    def leaves() -> None:
        for to in host(1, 2, meet, seen)._peers.values():
            to.close()

    with ThreadPoolExecutor(2) as pool:
        gone = pool.submit(leaves)
        stays = host(0, 2, meet, seen)
        gone.result()
        with pytest.raises(ConnectionError):
            stays.allreduce(torch.ones(3))
