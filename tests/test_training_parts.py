"""Layers, row-wise optimizers, the walk reader and checkpoints, each against something simpler."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_shop import LANES, LENGTH, config, plan

from vasg import randomness
from vasg.config import to_dict
from vasg.config_file import from_dict
from vasg.errors import DataError
from vasg.training import checkpoint, decoder, dropout, stage
from vasg.training.features import Features
from vasg.training.row_optimizers import Optimizer, RowAdagrad, RowAdam
from vasg.training.walk_reader import batches, steps_per_epoch
from vasg.training.workers import Workers


def test_threads_that_wait_sleep() -> None:
    command, told = [sys.executable, "-c", "import vasg.training.worker"], {"OMP_DISPLAY_ENV": "VERBOSE"}
    found = subprocess.run(command, env=os.environ | told, capture_output=True, text=True, check=True).stderr
    spins = {line.split("'")[1] for line in found.splitlines() if "SPINCOUNT" in line}
    assert spins == {"0"}  # of torch's OpenMP, and of every other one that is loaded


def test_torch_and_numpy_hash_alike() -> None:
    values = np.array([0, 1, 2**31, 2**62, 123456789], np.int64)
    expected = randomness._mix(values.astype(np.uint64)).astype(np.int64)
    assert dropout._mix64(torch.from_numpy(values)).tolist() == expected.tolist()


def test_dropout_depends_on_step_and_product_alone() -> None:
    nodes = torch.tensor([3, 7, 11])
    keys = dropout.keys(1, 5, nodes)
    mask = dropout.mask(keys, 1000, 0.25)
    assert torch.equal(mask[1:2], dropout.mask(dropout.keys(1, 5, nodes[1:2]), 1000, 0.25))
    assert not torch.equal(mask, dropout.mask(dropout.keys(1, 6, nodes), 1000, 0.25))
    assert mask.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.05)
    for width in (1, 6, 1000):
        assert torch.equal(dropout.mask(keys, width, 0.25), dropout.batched_mask(keys, width, 0.25))


def test_noise_is_standard_normal() -> None:
    noise = dropout.normal_noise(dropout.keys(1, 5, torch.arange(100)), 1000)
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)


def test_no_layer_starts_like_another() -> None:
    sizes = [32, 32, 32, 32]
    weights = [
        layer.weight.detach().flatten().numpy()
        for name in ("decoder", "encoder")
        for layer in decoder.Layers(sizes, 0.5, True, 0, name).linear
    ]
    assert np.abs(np.corrcoef(weights) - np.eye(6)).max() < 0.2


def test_decoder_is_the_papers() -> None:
    layers = decoder.Layers([100, 256, 512, 1024, 2048, 4096], 0.5, True, 0, "decoder")
    sizes = [(layer.in_features, layer.out_features) for layer in layers.linear]
    assert sizes == [(100, 256), (256, 512), (512, 1024), (1024, 2048), (2048, 4096)]
    assert float(layers(torch.randn(3, 100)).detach().min()) == 0.0  # ReLU behind the last layer too


@pytest.mark.parametrize("form", [RowAdam.step, RowAdam.batched])
def test_row_adam_is_adam_when_every_row_is_touched(form: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5, 4, generator=generator)
    reference = torch.nn.Parameter(values.clone())
    ours, theirs = RowAdam(values), torch.optim.Adam([reference], lr=0.01)
    for _ in range(10):
        gradient = torch.randn(5, 4, generator=generator)
        reference.grad = gradient.clone()
        theirs.step()
        form(ours, values, torch.arange(5), gradient, 0.01)
    torch.testing.assert_close(values, reference.data)


@pytest.mark.parametrize("kind", [RowAdam, partial(RowAdagrad, pull=torch.ones(6))])
def test_row_optimizers_leave_other_rows_alone(kind: Callable[[torch.Tensor], Optimizer]) -> None:
    values = torch.zeros(6, 3)
    optimizer = kind(values)
    optimizer.step(values, torch.tensor([1, 4]), torch.ones(2, 4), 0.1)
    assert values.abs().sum(1).nonzero()[:, 0].tolist() == [1, 4]
    assert all(float(state[[0, 2, 3, 5]].abs().sum()) == 0 for state in optimizer.state.values())


def test_row_adagrad_keeps_the_direction_of_the_gradient() -> None:
    values, gradient = torch.zeros(1, 4), torch.tensor([[3.0, -4.0, 0.0, 2.0, 1.0]])
    RowAdagrad(values, torch.zeros(1)).step(values, torch.tensor([0]), gradient, 0.5)
    rms = (25 / 3) ** 0.5
    torch.testing.assert_close(values, torch.tensor([[-1.5 / rms, 2.0 / rms, 0.0, -0.5]]))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_share_the_same_global_batches(tmp_path: Path, workers: int) -> None:
    groups = plan(tmp_path, config()).groups
    alone = list(batches(groups, 0, 1, seed=5, epoch=1))
    assert len(alone) == steps_per_epoch(groups) == 10
    parts = [list(batches(groups, worker, workers, seed=5, epoch=1)) for worker in range(workers)]
    for step, whole in enumerate(alone):
        walks = np.concatenate([part[step].walks for part in parts])
        places = np.concatenate([part[step].places for part in parts])
        assert len(set(places.tolist())) == len(places)
        assert np.array_equal(walks[np.argsort(places)], whole.walks[np.argsort(whole.places)])


def test_an_epoch_is_every_walk_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    groups = plan(tmp_path, config()).groups
    epochs = [np.concatenate([batch.walks for batch in batches(groups, 0, 1, 5, epoch)]) for epoch in (0, 1)]
    assert epochs[0].shape == (2 * LANES * 50, LENGTH)
    assert sorted(epochs[0].tolist()) == sorted(epochs[1].tolist())
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize("skip", [0, 1, 3, 9])
def test_skipping_gives_the_rest_of_the_epoch(tmp_path: Path, skip: int) -> None:
    groups = plan(tmp_path, config()).groups
    rest = list(batches(groups, 0, 1, 5, 0, skip))
    expected = list(batches(groups, 0, 1, 5, 0))[skip:]
    assert all(np.array_equal(a.walks, b.walks) for a, b in zip(rest, expected, strict=True))


def test_an_incomplete_checkpoint_does_not_count(tmp_path: Path) -> None:
    workers, device = Workers(1), torch.device("cpu")
    assert checkpoint.load(tmp_path, workers, device) is None
    checkpoint.save(tmp_path, 7, {"x": torch.ones(2)}, {"done": 7}, workers)
    later = tmp_path / "step-0000000009"  # a worker died before the others had saved
    later.mkdir()
    (later / "share-0.pt").write_bytes(b"half")
    share, common = checkpoint.load(tmp_path, workers, device) or ({}, {})
    assert common["done"] == 7
    assert share["x"].tolist() == [1, 1]


@pytest.mark.fault
def test_a_checkpoint_replaces_earlier_ones_alone(tmp_path: Path) -> None:
    workers, device = Workers(1), torch.device("cpu")
    for step in (7, 9, 8):  # 8 is late: of a run taken for dead
        checkpoint.save(tmp_path, step, {"x": torch.ones(2)}, {"done": step}, workers)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000008", "step-0000000009"]
    assert (checkpoint.load(tmp_path, workers, device) or ({}, {}))[1]["done"] == 9
    workers.size = 2
    with pytest.raises(DataError, match="is of 1 workers, not 2; remove it"):
        checkpoint.load(tmp_path, workers, device)


def test_what_a_configuration_kept_of_the_other_objective_is_told() -> None:
    """As when the configuration kept beside the outputs of a run is run again with the other objective."""
    ours, paper = config(), config(objective="paper")
    assert stage._of_other_objective(ours.train) == stage._of_other_objective(paper.train) == {}
    kept = to_dict(ours)
    kept["train"]["objective"] = "paper"
    expected = {"learning_rate": 0.1, "mapping.objective": "both", "mapping.dropout": 0.2}
    assert stage._of_other_objective(from_dict(kept).train) == expected


@pytest.mark.parametrize("content", ["", "{}", "[]", "null"])
def test_a_damaged_mark_of_a_checkpoint_is_bad_data(tmp_path: Path, content: str) -> None:
    checkpoint.save(tmp_path, 7, {"x": torch.ones(2)}, {"done": 7}, Workers(1))
    next(tmp_path.glob("step-*/complete.json")).write_text(content)
    with pytest.raises(DataError, match=r"checkpoint .*step-.* cannot be read .*; remove it to train from the start"):
        checkpoint.load(tmp_path, Workers(1), torch.device("cpu"))


def test_a_machine_that_cannot_read_a_checkpoint_does_not_ask_to_remove_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 7, {"x": torch.ones(2)}, {"done": 7}, Workers(1))
    monkeypatch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "input/output error")))
    with pytest.raises(OSError, match="input/output error"):
        checkpoint.load(tmp_path, Workers(1), torch.device("cpu"))


def test_features_are_measured_on_warm_products_alone(tmp_path: Path) -> None:
    values = np.random.default_rng(0).gamma(2.0, 3.0, (2600, 7)).astype(np.float16)
    has = np.arange(2600) % 5 != 0
    np.save(tmp_path / "values.npy", values)
    np.save(tmp_path / "has.npy", has)
    found = Features(str(tmp_path / "values.npy"), str(tmp_path / "has.npy"), 2500, torch.device("cpu"))
    rows = values[:2500][has[:2500]].astype(np.float64)
    rows /= np.sqrt(np.square(rows).mean())
    assert found.positive
    np.testing.assert_allclose(found.variance, np.square(rows - rows.mean(0)).mean(0).sum(), rtol=1e-6)
    np.testing.assert_allclose(found.deviation.numpy(), rows.std(0), rtol=1e-5)
    np.testing.assert_allclose(found.of(torch.tensor([1, 2])).numpy(), rows[:2], rtol=1e-5)
