"""Real trainings: one worker and two Horovod workers, unbroken and resumed, must end with the same model."""

import errno
import os
import signal
import threading
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pyspark.sql import SparkSession
from training_shop import COLD, USERS, WARM, baselines, config, embeddings, plan

from vasg.errors import ConfigurationError, OutputError, TryLater, VasgError
from vasg.signals import ends_in_order
from vasg.training import model, worker
from vasg.training.features import Features
from vasg.training.mapping import Mapping
from vasg.training.model import Vasg
from vasg.training.plan import Plan
from vasg.training.walk_reader import batches
from vasg.training.worker import choose_device, train
from vasg.training.workers import Workers, launch

# sums of float32 in another order, through a few hundred steps; the vectors' elements are of size 0.1 to 1
TOLERANCE = 2e-3


def alone(directory: Path, **settings: object) -> tuple[np.ndarray, list[tuple[str, int, str, float]]]:
    directory.mkdir(exist_ok=True)
    this = plan(directory, config(**settings))
    log = train(Workers(1), this)
    return embeddings(this), log


def scores(vectors: np.ndarray) -> np.ndarray:
    """What is compared of published vectors, which a rotation of all of them leaves as good as they are."""
    return np.asarray(vectors[:USERS] @ vectors[USERS:].T)


@pytest.mark.parametrize("objective", ["sampled", "paper"])
def test_learns_the_two_tastes_and_places_cold_products(tmp_path: Path, objective: str) -> None:
    rate = 0.1 if objective == "sampled" else 0.02
    vectors, log = alone(
        tmp_path, objective=objective, epochs=12, learning_rate=rate, mapping={"steps": 300, "batch_size": 8}
    )
    found = scores(vectors)
    same = (np.arange(USERS) % 2)[:, None] == (np.arange(WARM + COLD) % 2)[None, :]
    for products in (slice(0, WARM), slice(WARM, WARM + COLD)):
        assert found[:, products][same[:, products]].mean() > found[:, products][~same[:, products]].mean() + 0.1
    losses = [value for phase, _, name, value in log if (phase, name) == ("skipgram", "loss")]
    assert losses[-1] < losses[0]
    if objective == "paper":
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_same_seed_same_model_other_seed_other_model(tmp_path: Path) -> None:
    first, again = alone(tmp_path / "a")[0], alone(tmp_path / "b")[0]
    assert np.array_equal(first, again)
    other = plan(tmp_path / "a", replace(config(), seed=6))
    train(Workers(1), replace(other, checkpoints=str(tmp_path)))
    assert not np.allclose(first, embeddings(other), atol=0.01)


def _both_ways(workers: Workers, _: None) -> list[list[object]]:
    """What an exchange and a sum give by memory that workers of a host share, and by Horovod, as between hosts."""
    found = []
    for host in (workers._host, None):
        workers._host = host
        rows = torch.arange(12.0).reshape(4, 3) + 100 * workers.index
        parts, counts = workers.alltoall(rows, [1, 3] if workers.index else [2, 2], "rows")
        came = torch.cat(parts)
        sent = [1, 3] if workers.index else [2, 2]
        same = torch.equal(workers.lend(rows.flip(0), torch.tensor([3, 2, 1, 0]), sent, counts, "lent"), came)
        found.append([host is None, came.tolist(), counts, same, workers.allreduce(rows, "sum").tolist()])
    return found


def test_memory_shared_on_a_host_gives_what_horovod_gives(tmp_path: Path, spark: SparkSession) -> None:
    by_memory, by_horovod = launch(_both_ways, None, 2, "spark", lambda: spark, tmp_path / "progress.log")
    assert [by_memory[0], by_horovod[0]] == [False, True]
    assert by_memory[1:] == by_horovod[1:]
    assert by_memory[2:4] == [[2, 1], True]


@pytest.mark.fault
@pytest.mark.parametrize("launcher", ["spark", "horovodrun"])
def test_two_horovod_workers_give_the_model_of_one(
    tmp_path: Path, spark: SparkSession, launcher: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    temporary = tmp_path / ("long" * 30)  # longer than the path of a socket may be
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    expected, log = alone(tmp_path / "one")
    (tmp_path / "two").mkdir()
    two = plan(tmp_path / "two", config(workers=2))
    assert sorted(path.name for path in Path(two.output).iterdir()) == []
    result = launch(train, two, 2, launcher, lambda: spark, tmp_path / "progress.log")
    assert capsys.readouterr().out.count("train: skipgram: epoch 2/2") == 2  # alone and together, each told once
    assert len(list(Path(two.output).glob("part-*.parquet"))) == 2  # each worker wrote the rows it owns
    assert np.abs(scores(embeddings(two)) - scores(expected)).max() < TOLERANCE * np.abs(scores(expected)).max()
    for name, vectors in baselines(two).items():
        assert np.abs(vectors - baselines(plan(tmp_path / "one", config()))[name]).max() < TOLERANCE, name
    assert not list(temporary.glob("vasg-host-*"))
    assert [row[:3] for row in result] == [row[:3] for row in log]
    assert [row[3] for row in result] == pytest.approx([row[3] for row in log], rel=0.01, abs=0.01)


def test_resumed_training_equals_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, expected_log = alone(tmp_path / "unbroken")
    (tmp_path / "broken").mkdir()
    this, steps, real = plan(tmp_path / "broken", config()), [], model.Vasg.step

    def dies_in_the_second_epoch(self: model.Vasg, *arguments: object) -> None:
        steps.append(1)
        if len(steps) == 14:
            raise KeyboardInterrupt
        real(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(model.Vasg, "step", dies_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(Workers(1), this)
    log = train(Workers(1), this)
    assert np.array_equal(embeddings(this), expected)
    assert log == expected_log


def test_the_decoder_never_sees_all_products_of_a_large_batch(tmp_path: Path) -> None:
    this = plan(tmp_path, config(decoder={"every": 1, "products_per_step": 4}))
    features = Features(this.features, this.has_feature, WARM, torch.device("cpu"))
    learner, seen = Vasg(this, Workers(1), features, torch.device("cpu")), []
    learner.decoder.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    for number, batch in enumerate(batches(this.groups, 0, 1, 0, 0)):
        learner.step(batch, number, 0.1)
    assert 0 < max(seen) < WARM / 2


def test_products_without_a_picture_do_not_make_others_pictures_count_more(tmp_path: Path) -> None:
    this = plan(tmp_path, config(decoder={"every": 1, "products_per_step": WARM}))
    features, found = Features(this.features, this.has_feature, WARM, torch.device("cpu")), []
    for pairs_without in (0, 1000):
        learner = Vasg(this, Workers(1), features, torch.device("cpu"))
        for number, batch in enumerate(batches(this.groups, 0, 1, 0, 0)):  # at first it says the same of all rows
            learner.step(batch, number, 0.1)
        gradient = torch.zeros(USERS + WARM, learner.rows.dim + 2)
        gradient[:, -1] = 1 + torch.arange(USERS + WARM) % 3
        has = features.has(torch.arange(WARM))
        gradient[USERS:, -1][~has] = pairs_without
        pairs = gradient[USERS:, -1].sum()
        learner._decode(torch.arange(USERS + WARM), gradient, 0, 2 * pairs, pairs)
        found.append(gradient[:, :-2][USERS:][has])
    assert torch.equal(*found)
    assert found[0].any()


@pytest.mark.fault
def test_errors_of_workers_keep_their_meaning(tmp_path: Path, spark: SparkSession) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    wants_gpu = plan(tmp_path, config(workers=2, device="cuda"))
    with pytest.raises(ConfigurationError, match="no usable GPU"):
        launch(train, wants_gpu, 2, "spark", lambda: spark, tmp_path / "progress.log")


@pytest.mark.fault
def test_training_on_cpu_for_want_of_a_gpu_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    first, second = Workers(1), Workers(1)
    second.index = 1
    assert {choose_device(wanted, each).type for wanted in ("auto", "cpu") for each in (first, second)} == {"cpu"}
    assert capsys.readouterr().out == "train: no usable GPU here, training on CPU\n"


@pytest.mark.fault
def test_more_workers_on_a_host_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    workers = Workers(1)
    workers.local_size = 2
    with pytest.raises(ConfigurationError, match="2 training workers on a host with 1 GPUs"):
        choose_device("auto", workers)


@pytest.mark.fault
def test_what_any_worker_refuses_is_the_answer(tmp_path: Path, spark: SparkSession) -> None:
    with pytest.raises(OutputError, match="no space left on the device"):
        launch(_one_is_full, None, 2, "spark", lambda: spark, tmp_path / "progress.log")
    assert launch(_both_ways, None, 2, "spark", lambda: spark, tmp_path / "progress.log")  # and is forgotten


def _one_is_full(workers: Workers, _: None) -> None:
    if workers.index == 1:
        raise OSError(errno.ENOSPC, "No space left on device")
    workers.barrier()


@pytest.mark.fault
def test_nobody_waits_for_terms_when_training_beside_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def slow(_: Plan, __: Workers, stop: threading.Event) -> None:
        ended.append(stop.wait(60))
        raise CancelledError

    monkeypatch.setattr(worker, "learn_without_walks", slow)
    with (
        pytest.raises(SystemExit),
        worker._learned_beside(plan(tmp_path, config()), Workers(1), torch.device("cuda")),
    ):
        raise SystemExit(143)
    assert ended == [True]


@pytest.mark.fault
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nobody_waits_for_terms_when_told_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    ended = []

    def slow(_: Plan, __: Workers, stop: threading.Event) -> None:
        stop.wait(0.5)  # until it is waited for
        os.kill(os.getpid(), signal.SIGTERM)
        ended.append(stop.wait(60))
        raise CancelledError

    monkeypatch.setattr(worker, "learn_without_walks", slow)
    with (
        ends_in_order(),
        pytest.raises(SystemExit),
        worker._learned_beside(plan(tmp_path, config()), Workers(1), torch.device(device)),
    ):
        pass
    assert ended == [True]


def test_a_lost_worker_means_try_later(tmp_path: Path, spark: SparkSession) -> None:
    with pytest.raises(TryLater, match="2 training workers"):
        launch(_dies, plan(tmp_path, config(workers=2)), 2, "spark", lambda: spark, tmp_path / "progress.log")


def _dies(workers: Workers, plan: Plan) -> None:
    os._exit(1)


@pytest.mark.fault
def test_a_bug_is_none_that_trying_later_mends(tmp_path: Path, spark: SparkSession) -> None:
    with pytest.raises(VasgError, match="training worker met an internal error: ZeroDivisionError: ") as caught:
        launch(_divides, None, 2, "spark", lambda: spark, tmp_path / "progress.log")
    assert caught.value.exit_code == 70


def _divides(workers: Workers, _: None) -> None:
    if workers.index == 1:
        print(1 // 0)
    workers.barrier()


def test_products_without_a_picture_are_trained_but_never_mapped(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    has = np.load(this.has_feature)
    has[WARM + 1] = False
    np.save(this.has_feature, has)
    train(Workers(1), this)
    table = pq.read_table(this.output)
    origin = dict(zip(table["node"].to_pylist(), table["origin"].to_pylist(), strict=True))
    assert USERS + WARM + 1 not in origin
    assert origin[USERS + 3] == "trained"
    assert {origin[USERS + WARM + k] for k in (0, 2, 3)} == {"mapped"}


def test_without_a_picture_of_anything_bought_there_is_no_mapping_to_learn(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    np.save(this.has_feature, np.arange(WARM + COLD) >= WARM)
    assert not [row for row in train(Workers(1), this) if row[0] == "mapping"]
    assert np.isfinite(embeddings(this)).all()


def test_without_a_decoder_the_mapping_is_learned_by_regression_alone(tmp_path: Path) -> None:
    _, log = alone(tmp_path, decoder={"every": 0}, mapping={"objective": "regression", "steps": 300, "batch_size": 8})
    losses = {(phase, name): value for phase, _, name, value in log}  # the last of each
    assert losses["skipgram", "decoder_loss"] == losses["mapping", "reconstruction"] == 0
    assert losses["mapping", "regression"] < 0.8  # of the variance
    with pytest.raises(ConfigurationError, match=r"decoder\.every = 0"):
        config(decoder={"every": 0})


@pytest.mark.parametrize("size", [0.001, 1.0, 100.0])
def test_the_mapping_learns_embeddings_of_any_size(tmp_path: Path, size: float) -> None:
    this, workers, cpu = (
        plan(tmp_path, config(mapping={"objective": "regression", "batch_size": 8})),
        Workers(1),
        torch.device("cpu"),
    )
    np.save(this.prior, np.zeros((USERS + WARM + COLD, 8), np.float32))  # all is left to the mapping
    features = Features(this.features, this.has_feature, this.warm, cpu)
    trained = Vasg(this, workers, features, cpu)
    taste = torch.tensor([-1.0, 1.0])[torch.arange(WARM) % 2]  # what their pictures show
    trained.rows.embeddings[USERS:] = size * (3.0 + taste[:, None])
    mapping = Mapping(this, workers, trained.rows, trained.decoder, features)
    losses = [mapping.epoch(epoch, mapping.batches)["regression"] for epoch in range(150)]
    assert losses[0] < 10  # of the variance: it starts near the size it has to learn
    assert losses[-1] < 0.8
