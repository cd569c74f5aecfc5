"""A GPU comes to what a CPU comes to, step by step and in the end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_shop import config, embeddings, plan

from vasg.training.features import Features
from vasg.training.model import Vasg
from vasg.training.walk_reader import batches
from vasg.training.worker import train
from vasg.training.workers import Workers

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


def after_an_epoch(directory: Path, name: str, objective: str) -> tuple[Any, dict[str, float]]:
    directory.mkdir()
    this, device = plan(directory, config(objective=objective, device=name)), torch.device(name)
    features = Features(this.features, this.has_feature, this.warm, device)
    assert features.resident == (name == "cuda")
    model = Vasg(this, Workers(1), features, device)
    for number, batch in enumerate(batches(this.groups, 0, 1, this.config.seed, 0)):
        model.step(batch, number, this.config.train.learning_rate)
    return model.rows.values.cpu(), model.take_figures()


@pytest.mark.parametrize("objective", ["sampled", "paper"])
def test_a_gpu_steps_as_a_cpu_does(tmp_path: Path, objective: str) -> None:
    (on_cpu, told), (on_gpu, also_told) = (after_an_epoch(tmp_path / d, d, objective) for d in ("cpu", "cuda"))
    assert float((on_gpu - on_cpu).norm() / on_cpu.norm()) < 0.02  # the GPU's decoder has bfloat16
    assert also_told == pytest.approx(told, rel=2e-2)


@pytest.mark.parametrize("objective", ["sampled", "paper"])
def test_a_gpu_trains_from_walks_to_embeddings(tmp_path: Path, objective: str) -> None:
    this = plan(tmp_path, config(objective=objective, device="cuda"))
    log = train(Workers(1), this)
    assert np.isfinite(embeddings(this)).all()
    again = train(Workers(1), this)  # from the last checkpoint
    assert [row[:3] for row in again] == [row[:3] for row in log]
    assert {"skipgram", "mapping"} <= {phase for phase, *_ in log}
