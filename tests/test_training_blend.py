"""The terms of the score: weighed by validation pairs alone, published as one inner product of few dimensions."""

from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info
from training_shop import COLD, USERS, WARM, baselines, config, embeddings, plan

from vasg import sampled_auc
from vasg.training import without_walks
from vasg.training.blend import _WEIGHTS, Blend, blended_terms, choose
from vasg.training.compress import Moments, compression
from vasg.training.features import Features
from vasg.training.mapping import Mapping
from vasg.training.model import Vasg
from vasg.training.plan import Plan, interactions, validation_sample
from vasg.training.publish import write_blend
from vasg.training.terms import Vectors, all_terms
from vasg.training.validation import Sample
from vasg.training.without_walks import WITHOUT_WALKS, file_of, learn_without_walks
from vasg.training.worker import train
from vasg.training.workers import Workers
from vasg.warehouse.tables import Warehouse

TASTE = np.eye(2)[np.arange(USERS) % 2]
STYLE = np.eye(2)[np.arange(WARM + COLD) % 2]
NOISE = np.random.default_rng(0).normal(size=(WARM + COLD, 2))


def term(products: Any) -> Vectors:
    vectors = np.concatenate([TASTE, products]).astype(np.float32)
    return lambda nodes: vectors[nodes]


def trained(directory: Path, **settings: Any) -> tuple[Plan, Vasg, Vasg, Mapping]:
    this = plan(directory, config(**settings))
    workers, device = Workers(1), torch.device("cpu")
    features = Features(this.features, this.has_feature, WARM, device)
    model = Vasg(this, workers, features, device)
    learn_without_walks(this, workers, Event())
    plain = Vasg(this, workers, features, device, visual=False)
    return this, model, plain, Mapping(this, workers, model.rows, model.decoder, features)


def test_the_better_term_gets_the_weight(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    blend = choose(this, Workers(1), {"good": term(STYLE), "noise": term(NOISE)}, {"good": 0.1, "noise": 3.0})
    assert blend.weight["good"] > blend.weight["noise"]
    assert blend.auc > 0.7
    other = choose(this, Workers(1), {"good": term(NOISE), "noise": term(STYLE)}, {"good": 0.1, "noise": 3.0})
    assert other.weight["good"] < other.weight["noise"]


def test_a_term_that_is_the_same_for_all_does_not_count(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    third = np.ones((USERS + WARM + COLD, 1), np.float32) / 3  # whose mean is rounded
    blend = choose(
        this, Workers(1), {"good": term(STYLE), "same": lambda nodes: third[nodes]}, {"good": 1.0, "same": 1.0}
    )
    assert set(blend.factors()) == {"good"}


def test_users_who_bought_little_do_not_change_what_a_weight_means(tmp_path: Path) -> None:
    """They are many at night and not there in the evaluation that chose the weights; what one purchase tells is little."""
    this = plan(tmp_path, config())
    weak = np.concatenate([TASTE * (np.arange(USERS) < 10)[:, None], STYLE])

    def unit(degree: Any) -> float:
        np.save(this.degree, np.concatenate([degree, np.full(WARM, 3)]))
        terms = {"weak": lambda nodes: weak[nodes].astype(np.float32), "good": term(STYLE)}
        return choose(this, Workers(1), terms, {"weak": 1.0, "good": 1.0}).unit["weak"]

    few, none = np.where(np.arange(USERS) < 10, 5, 1), np.ones(USERS, int)
    assert unit(few) == pytest.approx(0.5)
    assert unit(none) < 0.4  # nobody bought more: all count


def test_no_other_value_of_one_weight_is_better(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    terms = {"mixed": term(STYLE + 2 * NOISE), "noise": term(NOISE)}
    blend = choose(this, Workers(1), terms, {"mixed": 1.0, "noise": 1.0})

    def auc(weight: dict[str, float]) -> float:  # the slow way, pair by pair
        factors = Blend(weight, blend.unit, 0.0).factors()
        pairs, candidates, known = (np.load(file) for file in (this.validation, this.candidates, this.known))
        full = sum(
            (factors.get(name, 0) * v(np.arange(USERS)) @ v(USERS + np.arange(WARM)).T for name, v in terms.items())
        )
        full = np.broadcast_to(full, (USERS, WARM))
        own, others = full[pairs[:, 0], pairs[:, 1] - USERS], full[pairs[:, 0]][:, candidates - USERS]
        won = ((own[:, None] > others) + 0.5 * (own[:, None] == others)) * ~known
        return float((won.sum(1) / (~known).sum(1)).mean())

    assert blend.auc == pytest.approx(auc(blend.weight), abs=1e-5)
    for name in terms:
        assert max(auc(blend.weight | {name: value}) for value in _WEIGHTS) < blend.auc + 1e-3


@pytest.mark.parametrize("known", [True, False])
def test_a_pair_whose_user_knows_all_candidates_is_not_asked(known: bool) -> None:
    own, others = np.array([2.0, 0.0], np.float32), np.array([[1.0, 3.0], [1.0, 1.0]], np.float32)
    knows = np.array([[False, True], [True, known]])
    assert sampled_auc.auc(own, others, knows) == (1.0 if known else 0.5)


def test_the_papers_skipgram_is_a_cosine_that_nothing_is_weighed_for(tmp_path: Path) -> None:
    this = plan(tmp_path, config(objective="paper"))
    log = train(Workers(1), this)
    assert {name for phase, _, name, _ in log if phase == "plain_skipgram"}.isdisjoint({"validation_auc", "popularity"})
    rows = baselines(this)["skipgram"]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_without_validation_pairs_the_configured_weights_hold(tmp_path: Path) -> None:
    this, model, plain, mapping = trained(tmp_path, blend={"vbpr": 0.25})
    np.save(this.validation, np.empty((0, 2), np.int64))
    _, blend = blended_terms(this, model.rows, plain.rows, mapping)
    assert blend.weight == asdict(this.config.train.blend)
    assert blend.weight["vbpr"] == 0.25


def test_what_cannot_count_is_not_trained(tmp_path: Path) -> None:
    this = replace(plan(tmp_path, config(blend={"vbpr": 0.0, "skipgram": 0.0})), evaluated=False)
    np.save(this.validation, np.empty((0, 2), np.int64))
    log = train(Workers(1), this)
    assert {name for name in WITHOUT_WALKS if file_of(this, name).exists()} == {"bpr", "mixed_logit"}
    assert not {"skipgram", "mapping", "plain_skipgram"} & {phase for phase, *_ in log}
    assert np.isfinite(embeddings(this)).all()


def test_a_user_without_a_train_pair_has_no_vector_of_any_model(tmp_path: Path) -> None:
    this = plan(tmp_path, config())
    degree = np.load(this.degree)
    np.save(this.degree, np.where(np.arange(len(degree)) == 3, 0, degree))
    train(Workers(1), this)
    published, others = pq.read_table(this.output), pq.read_table(this.baselines)
    assert set(published["node"].to_pylist()) == set(range(USERS + WARM + COLD)) - {3}
    assert set(others["model"].to_pylist()) == {"skipgram", "bpr", "vbpr"}
    assert 3 not in others["node"].to_pylist()


def test_many_cores_learn_the_same_terms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = [pool["num_threads"] for pool in threadpool_info()], {}
    for count in (1, 16):
        (tmp_path / str(count)).mkdir()
        this = plan(tmp_path / str(count), config())
        monkeypatch.setattr(without_walks, "cores", lambda count=count: count)
        learn_without_walks(this, Workers(1), Event())
        found[count] = {name: np.load(file_of(this, name)) for name in WITHOUT_WALKS}
    assert all(np.ptp(vectors, axis=0).any() for vectors in found[1].values())
    for name in WITHOUT_WALKS:
        np.testing.assert_array_equal(found[1][name], found[16][name], err_msg=name)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_popularity_may_be_all_that_counts(tmp_path: Path) -> None:
    names = ("skipgram", "plain_skipgram", "prior", "smooth_prior", "mixed_logit", "vbpr", "bpr", "co_purchases")
    this = plan(tmp_path, config(blend=dict.fromkeys(names, 0.0)))
    np.save(this.validation, np.empty((0, 2), np.int64))
    train(Workers(1), this)
    rows = embeddings(this)
    assert np.ptp(rows[:USERS] @ rows[USERS:].T, axis=0).max() == 0
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("name", ["plain_skipgram", "bpr", "co_purchases"])
def test_what_knows_purchases_alone_finds_a_cold_product_average(tmp_path: Path, name: str) -> None:
    this, model, plain, mapping = trained(tmp_path)
    vectors = all_terms(this, model.rows, plain.rows, mapping)[name](np.arange(USERS + WARM + COLD))
    scores = vectors[:USERS] @ vectors[USERS:].T
    assert scores[:, :WARM].any()
    np.testing.assert_allclose(
        scores[:, WARM:], np.tile(scores[:, :WARM].mean(1, keepdims=True), COLD), rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("dim", [8, 80])
def test_published_score_is_the_blend(tmp_path: Path, dim: int) -> None:
    """Up to a constant for each user, which ranks nothing; in as many dimensions as the terms have, exactly."""
    this, model, plain, mapping = trained(tmp_path, dim=dim)
    terms = all_terms(this, model.rows, plain.rows, mapping)
    blend = Blend(dict.fromkeys(terms, 0.5) | {"bpr": 0.0}, dict.fromkeys(terms, 2.0), 0.0)
    published = write_blend(this, Workers(1), model, mapping, terms, blend)
    nodes = np.arange(USERS + WARM + COLD)
    expected = sum((0.25 * terms[n](nodes)[:USERS] @ terms[n](nodes)[USERS:].T for n in terms if n != "bpr"), 0.0)
    found = embeddings(this)
    assert found.shape[1] == dim + 1
    scores = found[:USERS] @ found[USERS:].T
    error = (scores - scores.mean(1, keepdims=True)) - (expected - np.mean(expected, 1, keepdims=True))
    assert published["kept"] > (0.999999 if dim == 80 else 0.5)
    sample = Sample(this, Workers(1))
    assert published["validation_auc"] == sample.auc(sample.scores(lambda some: found[some]))
    if dim == 80:
        assert np.abs(error).max() < 1e-4
    else:
        assert np.square(error).mean() < np.var(expected)


@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(2, 20), st.integers(2, 20))
@settings(max_examples=50, deadline=None)
def test_compression_is_the_truncated_decomposition_of_the_scores(
    seed: int, dim: int, users: int, products: int
) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(users, 5)) + 1, generator.normal(size=(products, 5)) - 2
    b[:, 4] = b[:, 3]  # terms may repeat each other
    moments = []
    for rows in (a, b):
        moments.append(Moments.none(5))
        for part in np.array_split(rows, 3):
            moments[-1].add(part)
    maps = compression(*(Moments.of(m.flat(), 5) for m in moments), dim)
    rows, bias = maps.products(b)
    found = maps.users(a) @ rows.T + bias
    scores = (a - a.mean(0)) @ (b - b.mean(0)).T
    left, singular, right = np.linalg.svd(scores)
    best = (left[:, : min(dim, len(singular))] * singular[:dim]) @ right[: min(dim, len(singular))]
    np.testing.assert_allclose(found, best + (b - b.mean(0)) @ a.mean(0), atol=1e-6 * max(1.0, singular[0]))
    lengths = [float(np.square(vectors).sum(1).mean()) for vectors in (maps.users(a), rows)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-6)  # they are added and compared in analyses
    assert maps.kept == pytest.approx(np.square(singular[:dim]).sum() / np.square(singular).sum(), abs=1e-8)


def test_sample_holds_validation_pairs_and_what_their_users_know(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    pairs = [
        (0, 3, "train"),
        (0, 4, "validation_warm"),
        (1, 5, "train"),
        (1, 3, "test_warm"),
        (1, 4, "validation_warm"),
        (2, 5, "validation_warm"),  # of a user without a train pair, as a split by time has them
    ]
    columns = dict(zip(("user", "product", "split"), zip(*pairs, strict=True), strict=True))
    table = pa.table(columns | {"rating": pa.array([1.0] * len(pairs), pa.float32())})
    with warehouse.publication("filter_users", "run", "") as publication:
        publication.write_arrow("interactions", table)
        publication.commit("", {})
    known, split = interactions(warehouse)
    found = validation_sample(known, split, users=3, warm=3, seed=0)
    assert found["validation"].tolist() == [[0, 4], [1, 4]]
    assert found["candidates"].tolist() == [3, 4, 5]
    assert found["known"].tolist() == [[True, True, False], [False, True, True]]  # but not what is for testing
