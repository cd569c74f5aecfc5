"""The mapping M: where it starts, what it never sees, and when it ends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_shop import COLD, USERS, WARM, config, plan

from vasg.training import decoder
from vasg.training.features import Features
from vasg.training.mapping import Mapping
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.terms import by_mapping
from vasg.training.worker import _mapping
from vasg.training.workers import Workers

CPU = torch.device("cpu")


def untaught(directory: Path, **settings: object) -> tuple[Plan, Mapping]:
    """A plan and its mapping before the first step, with embeddings that pictures tell in part."""
    this, workers = plan(directory, config(mapping={"batch_size": 4, **settings})), Workers(1)
    features = Features(this.features, this.has_feature, WARM, CPU)
    model = Vasg(this, workers, features, CPU)
    generator = torch.Generator().manual_seed(1)
    taste = torch.tensor([-1.0, 1.0])[torch.arange(WARM) % 2, None]
    model.rows.embeddings[USERS:] = taste + torch.randn(WARM, model.rows.dim, generator=generator)
    return this, Mapping(this, workers, model.rows, model.decoder, features)


def parameters(mapping: Mapping) -> torch.Tensor:
    return torch.cat([part.detach().flatten() for part in mapping.encoder.parameters()]).clone()


def test_layers_start_from_what_they_are_told() -> None:
    layers, mean = decoder.Layers([3, 8, 8, 5], 0.5, True, 0, "decoder"), torch.arange(5.0)
    layers.start_from(mean)
    torch.testing.assert_close(layers(torch.randn(70, 3)), mean.expand(70, 5))


def test_the_decoder_starts_from_the_mean_picture(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    features = Features(this.features, this.has_feature, WARM, CPU)
    seen = torch.from_numpy(np.flatnonzero(np.load(this.has_feature)[:WARM]))
    mean = features.of(seen).mean(0)
    torch.testing.assert_close(features.mean, mean, rtol=1e-3, atol=1e-3)
    model = Vasg(this, Workers(1), features, CPU)
    torch.testing.assert_close(model.decoder(torch.randn(4, 8)), features.mean.expand(4, -1))


def test_a_node_of_few_purchases_is_pulled_the_more(tmp_path: Path) -> None:
    this = plan(tmp_path, config(regularisation=3.0))
    np.save(this.degree, np.arange(USERS + WARM))  # the first has none
    features = Features(this.features, this.has_feature, WARM, CPU)
    model = Vasg(this, Workers(1), features, CPU, visual=False)
    before, gradient = model.rows.embeddings.clone(), torch.zeros(USERS + WARM, model.rows.dim + 2)
    gradient[:, 0], gradient[:, -1] = 1.0, 5.0  # slope, pairs
    model.rows.update(torch.arange(USERS + WARM), gradient, 0.1)
    slope = gradient[:, :-2] + 5 * 3.0 / torch.arange(USERS + WARM).clamp(min=1)[:, None] * before
    expected = before - 0.1 * slope / slope.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(model.rows.embeddings, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_of_many_inputs_learns_more_slowly() -> None:
    groups = decoder.Layers([100, 256, 1024, 10], 0.5, True, 0, "decoder").groups(0.1)
    assert [group["lr"] for group in groups] == [0.1, 0.1, 0.025]
    assert sum(len(group["params"]) for group in groups) == 6


def test_products_held_out_teach_nothing(tmp_path: Path) -> None:
    _, mapping = untaught(tmp_path)
    _, other = untaught(tmp_path)
    assert 0 < len(mapping.held_out) < WARM / 2
    assert set(mapping.held_out) <= set(np.flatnonzero(np.load(tmp_path / "has_feature.npy")[:WARM]))
    other.rows.embeddings[USERS + torch.from_numpy(mapping.held_out)] += 10
    before = parameters(mapping)
    figures = [one.epoch(0, one.batches) for one in (mapping, other)]
    assert not torch.equal(parameters(mapping), before)
    assert torch.equal(parameters(mapping), parameters(other))
    assert figures[0]["regression"] == figures[1]["regression"]
    assert figures[0]["regression_held_out"] < figures[1]["regression_held_out"]


def test_it_ends_where_products_held_out_gain_no_more_with_what_was_best(tmp_path: Path) -> None:
    this, mapping = untaught(tmp_path, steps=4000, objective="regression", dropout=0.0, noise=0.0)
    log = _mapping(this, Workers(1), mapping)
    unseen = [value for _, _, name, value in log if name == "regression_held_out"]
    seen = [value for _, _, name, value in log if name == "regression"]
    assert len(unseen) < 4000 // mapping.batches
    assert min(unseen) < min(unseen[-2:])
    assert seen[-1] < seen[0]  # it had begun to learn by heart
    assert float(mapping._judge()[1]) == pytest.approx(min(unseen), rel=1e-5)


def test_without_products_to_judge_by_it_takes_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vasg.training.mapping._HELD_OUT", 0.0)
    this, mapping = untaught(tmp_path, steps=40)
    log = _mapping(this, Workers(1), mapping)
    assert max(epoch for _, epoch, *_ in log) == -(-40 // mapping.batches)
    assert np.isfinite(by_mapping(this, mapping, np.arange(USERS + WARM, USERS + WARM + COLD))).all()


def test_it_starts_from_the_prior_and_stays_there_where_pictures_tell_no_more(tmp_path: Path) -> None:
    this, mapping = untaught(tmp_path, steps=4000, objective="regression")
    nodes, prior = np.arange(USERS, USERS + WARM + COLD), np.load(this.prior)[USERS:]
    has_picture = np.load(this.has_feature)
    prior[~has_picture] = 0
    np.testing.assert_allclose(
        by_mapping(this, mapping, nodes) - prior, mapping.center * has_picture[:, None], atol=1e-6
    )
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(WARM, mapping.rows.dim, generator=generator)
    mapping.rows.embeddings[USERS:] = torch.from_numpy(prior[:WARM]) + noise
    of_noise = Mapping(this, Workers(1), mapping.rows, mapping.decoder, mapping.features)
    log = _mapping(this, Workers(1), of_noise)
    assert max(epoch for _, epoch, *_ in log) < 100  # it learns noise by heart, and is told so
    beyond = by_mapping(this, of_noise, nodes)[has_picture] - prior[has_picture] - of_noise.center.numpy()
    assert np.square(beyond).mean() < 0.2 * np.square(noise.numpy()).mean()


def test_for_the_papers_objective_there_is_no_prior(tmp_path: Path) -> None:
    this = plan(tmp_path, config(objective="paper"))
    np.save(this.prior, np.zeros((0, 0), np.float32))
    features = Features(this.features, this.has_feature, WARM, CPU)
    model = Vasg(this, Workers(1), features, CPU)
    mapping = Mapping(this, Workers(1), model.rows, model.decoder, features)
    cold = by_mapping(this, mapping, np.arange(USERS + WARM, USERS + WARM + COLD))
    np.testing.assert_allclose(cold, np.tile(mapping.center, (COLD, 1)), atol=1e-6)
