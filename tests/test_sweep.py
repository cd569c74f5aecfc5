"""``vasg sweep``: what it runs, what runs share, its bands, and a real one that is stopped and killed on the way."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import takewhile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from test_signals import STAYS
from test_stages import publish

from vasg.config import Config
from vasg.config_file import from_dict
from vasg.errors import ConfigurationError, UsageError
from vasg.pipeline.runner import HOME, environment
from vasg.pipeline.stages import is_up_to_date, stages
from vasg.sweep import command, runs
from vasg.sweep.picture import draw
from vasg.sweep.plan import Point, Run, make_plan
from vasg.sweep.results import MEASURES, band, summarise, table
from vasg.sweep.runs import Runs
from vasg.sweep.share import adopt
from vasg.warehouse.publication import STAGED
from vasg.warehouse.tables import Warehouse

BASE = "[features]\nsource = 'feature_file'\n[train]\ndim = 20\n"

# ---- what is run ----


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(BASE)
    return path


def test_one_key_at_a_time_around_the_base_and_equal_configurations_share_a_run(
    config_file: Path, tmp_path: Path
) -> None:
    vary = ["train.dim=100,20,3", "train.decoder.hidden=[8],[8, 16]"]
    plan = make_plan(str(config_file), tmp_path, ["score.top_k=7"], vary, [4, 2])
    dim, hidden = plan.curves["train.dim"], plan.curves["train.decoder.hidden"]
    assert [(point.value, point.is_base) for point in dim] == [(3, False), (20, True), (100, False)]
    assert [point.label for point in hidden] == ["[256, 512, 1024, 2048]", "[8]", "[8, 16]"]
    assert [run.name for run in plan.runs] == [
        f"{point}/seed={seed}"
        for point in ("base", "train.dim=100", "train.dim=3", "train.decoder.hidden=[8]", "train.decoder.hidden=[8,%2016]")
        for seed in (4, 2)
    ]  # fmt: skip
    assert dim[1].runs == hidden[0].runs == tuple(plan.runs[:2])
    for point in dim + hidden:
        assert [run.config.seed for run in point.runs] == [4, 2]
        assert all(run.config.score.top_k == 7 for run in point.runs)
    assert [(run.config.train.dim, run.config.train.decoder.hidden) for run in plan.runs[::2]] == [
        (20, (256, 512, 1024, 2048)), (100, (256, 512, 1024, 2048)), (3, (256, 512, 1024, 2048)), (20, (8,)), (20, (8, 16)),
    ]  # fmt: skip
    parents = {run.name: run.parent and run.parent.name for run in plan.runs}
    assert parents["base/seed=4"] is None
    assert parents["base/seed=2"] == "base/seed=4"
    assert parents["train.dim=3/seed=2"] == "base/seed=2"


def test_no_run_is_held_against_lists_of_an_earlier_sweep(config_file: Path, tmp_path: Path) -> None:
    config_file.write_text(BASE + "[gates]\nenabled = true\n")
    plan = make_plan(str(config_file), tmp_path, ["gates.enabled=true"], ["train.dim=3"], [0, 1])
    assert [run.config.gates.enabled for run in plan.runs] == [False] * 4


def test_a_sweep_keeps_the_day_it_began_unless_one_is_configured(config_file: Path, tmp_path: Path) -> None:
    begun = tmp_path / "runs" / "base" / "seed=0.toml"
    begun.parent.mkdir(parents=True)
    begun.write_text('run_date = "2020-02-02"\n')
    for overrides, day in (([], "2020-02-02"), (["run_date=2021-01-01"], "2021-01-01")):
        plan = make_plan(str(config_file), tmp_path, overrides, ["train.dim=3"], [0])
        assert {run.config.run_date for run in plan.runs} == {day}


@pytest.mark.parametrize(
    ("vary", "error", "message"),
    [
        (["train.dim=3", "train.windw=3,5"], ConfigurationError, r"did you mean train\.window\?"),
        (["train.dim=3", "train.window=3,4"], ConfigurationError, "an odd number"),
        (["split.method=time,none"], ConfigurationError, "compares runs on test pairs"),
        (["features.source=none"], ConfigurationError, "compares runs on test pairs"),
        (["train.dim"], UsageError, r"write --vary section\.key=value,value"),
        (["train.dim=3,,4"], UsageError, r"write --vary section\.key=value,value"),
        (["train.dim=3", "train.dim=4"], UsageError, "given twice"),
        (["seed=1,2"], UsageError, "--seeds"),
    ],
)
def test_what_is_wrong_is_found_before_anything_runs(
    config_file: Path, tmp_path: Path, vary: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_plan(str(config_file), tmp_path, [], vary, [0])


# ---- how it ends ----


def test_runs_that_do_not_end_when_told_to_have_one_time_together_and_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(run: Run, options: list[str]) -> subprocess.Popen[bytes]:
        program = f"{STAYS}open({str(tmp_path / 'it stayed')!r}, 'w').close()"
        started.append(subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, process_group=0))
        assert started[-1].stdout
        assert started[-1].stdout.readline() == b"ready\n"
        return started[-1]

    monkeypatch.setattr(runs, "_start", start)
    monkeypatch.setattr(runs, "_prepare", lambda run, sweep_id: run.name == "done")
    monkeypatch.setattr(runs, "_PATIENCE_SECONDS", 0.2)
    planned = [Run(name, tmp_path / name, Config(), None) for name in ("one", "two", "done")]
    with closing(Runs(planned, 3, [], "sweep").run()) as ended:
        assert next(ended).name == "done"
    assert len(started) == 2
    for process in started:
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert not (tmp_path / "it stayed").exists()


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_sweep_handles_sigterm_while_it_runs_and_leaves_it_ignored_where_it_is(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: signal.Handlers
) -> None:
    found = []

    def run(self: Runs) -> Iterator[Run]:
        found.append(signal.getsignal(signal.SIGTERM))
        yield from ()

    monkeypatch.setattr(Runs, "run", run)
    handler = signal.signal(signal.SIGTERM, before)
    try:
        assert command.sweep(str(config_file), str(tmp_path / "sweep"), ["train.dim=3"], "0", 1) == 0
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert (found == [before]) == (before == signal.SIG_IGN)


# ---- what runs share ----


def up_to_date(config: Config, root: Path) -> list[str]:
    """The first stages, up to the one that has to run: those after it will find other inputs."""
    return [this.name for this in takewhile(lambda s: is_up_to_date(s, config, Warehouse(root)), stages(config))]


@pytest.mark.parametrize(
    "change", [{}, {"score": {"top_k": 3}}, {"walks": {"walks_per_node": 3}}, {"seed": 9}, {"reviews": {"category": "A"}}]
)  # fmt: skip
def test_a_run_takes_over_what_a_copy_of_the_other_warehouse_would_spare_it(
    tmp_path: Path, change: dict[str, object]
) -> None:
    tree = {"features": {"source": "feature_file"}, "run_date": "2024-01-01"}
    source, target = Warehouse(tmp_path / "source"), Warehouse(tmp_path / "target")
    for this in stages(from_dict(tree)):
        publish(this, from_dict(tree), source)
    config = from_dict(tree | change)
    (source.path("reviews") / STAGED).touch()  # a run that was killed before it took the marker away
    leftover = target.root / "tables" / "reviews" / source.path("reviews").name
    leftover.mkdir(parents=True)
    (leftover / STAGED).touch()  # a call that was killed
    target.remove_abandoned("sweep")
    before = target.catalog()["sequence"]
    for _ in range(2):  # the second time there is nothing to do
        adopt(source, target, config, "sweep")
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(source.root, tmp_path / "copy")
        spared = up_to_date(config, tmp_path / "copy")
        assert up_to_date(config, target.root) == spared
        assert target.catalog()["sequence"] == before + len(spared)
    for name in target.catalog()["tables"]:
        target.verify(name)
        for path in target.files(name):
            assert path.samefile(source.root / path.relative_to(target.root)), "copied, not linked"
    assert not list(target.root.rglob(STAGED))
    assert set(target.catalog()["tables"]) == {t for this in stages(config) if this.name in spared for t in this.writes}


# ---- what is reported ----


@given(st.lists(st.floats(0, 1), min_size=3, max_size=10))
def test_the_band_is_the_interval_of_a_t_test(values: list[float]) -> None:
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95) if len(set(values)) > 1 else (values[0],) * 2
    assert band(np.array(values)) == pytest.approx((np.mean(values), *expected), abs=1e-9)


def test_of_fewer_seeds_it_is_their_extremes() -> None:
    assert band(np.array([0.5, 0.25])) == (0.375, 0.25, 0.5)
    assert band(np.array([0.5])) == (0.5, 0.5, 0.5)
    assert np.isnan(band(np.array([]))).all()


def measured() -> pd.DataFrame:
    """AUC of vasg and of a baseline at three points; seed 2 of the last one is missing."""
    rows = []
    for place, point in enumerate(("5", "10", "100")):
        for seed in range(3 - (point == "100")):
            for pairs, setting, candidates in MEASURES:
                at = {"key": "train.dim", "point": point, "is_base": point == "10", "seed": seed, "pairs": pairs}
                at |= {"setting": setting, "candidates": candidates, "metric": "auc", "root": f"{point}/seed={seed}"}
                value = 0.6 + 0.1 * seed + 0.02 * (place - 1) + 0.001 * (place - 1) * seed
                rows += [at | {"model": "vasg", "value": value}, at | {"model": "bpr", "value": 0.1}]
                rows += [at | {"model": "vasg", "metric": "auc_strict", "value": 0.0}]
    return pd.DataFrame(rows)


def test_points_are_compared_with_the_base_run_of_the_same_seed() -> None:
    summary = summarise(measured())
    assert len(summary) == 3 * len(MEASURES)
    found = summary[summary["measure"] == "test, warm among warm"].set_index("point")
    assert found["seeds"].to_dict() == {"5": 3, "10": 3, "100": 2}
    assert found.loc["5", ["mean", "difference"]].tolist() == pytest.approx([0.679, -0.021])
    interval = stats.ttest_1samp([-0.02, -0.021, -0.022], 0).confidence_interval(0.95)
    assert found.loc["5", ["difference_low", "difference_high"]].tolist() == pytest.approx(list(interval))
    last = found.loc["100", ["kind", "low", "high", "difference_low", "difference_high"]].tolist()
    assert last[0] == "lowest to highest"
    assert last[1:] == pytest.approx([0.62, 0.721, 0.02, 0.021])
    text = table(summary, "train.dim", ["5", "10", "100"])
    assert "test, cold among all    10 (base)        0.700  0.452-0.948\n" in text
    assert "test, cold among all    100              0.670  0.620-0.721    +0.0205 (+0.0200 to +0.0210)\n" in text
    assert text.endswith("Bands: 95 % t-interval of 3 seeds or lowest to highest of 2 seeds.")


@pytest.mark.parametrize("values", [[5, 10, 100], ["5", "10", "100"]])
def test_the_picture_shows_every_measure_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[object]
) -> None:
    # whoever decodes product pictures in a process sets it for good
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    points, path = [Point(value, (), False) for value in values], tmp_path / "picture.png"
    widths = []
    for pairs in ("validation|test", "validation"):
        rows = measured()
        draw(summarise(rows[rows["pairs"].str.fullmatch(pairs)]), "train.dim", points, path)
        with Image.open(path) as picture:
            widths.append(picture.width)
            assert len(picture.getcolors(1 << 20)) > 50  # something is drawn
    assert widths[0] > 3 * widths[1]
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


# ---- the command ----

SMALL = [
    "train.epochs=1", "train.decoder.hidden=[16]", "train.mapping.steps=20", "train.baselines=[]", "score.baselines=[]",
    "score.bootstrap=20", "train.dim=8", "walks.walks_per_node=2",
]  # fmt: skip

Sweep = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Sweep]:
    """``sweep("train.dim=4", ...)`` starts one over a small generated shop, in tmp_path/sweep."""
    started = []

    def start(*vary: str, options: Sequence[str] = ()) -> subprocess.Popen[str]:
        shop = tmp_path / "shop"
        if not shop.exists():
            sizes = ["--users", "60", "--products", "100", "--ratings", "700", "--dim", "32"]
            subprocess.run([sys.executable, "-m", "vasg.demo", "--out", str(shop), *sizes], check=True, cwd=HOME)
        command = [sys.executable, "-m", "vasg.cli", "sweep", "--config", str(shop / "config.toml"), "--seeds", "0"]
        command += ["--root", str(tmp_path / "sweep"), *options]
        for option, values in (("--vary", vary), ("--set", SMALL)):
            command += [word for value in values for word in (option, value)]
        started.append(
            subprocess.Popen(
                command, env=environment(), cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not what():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def processes_of(root: Path) -> list[str]:
    """Command lines of the processes that name a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return [line for line in found if str(root) in line]


def test_a_key_that_does_not_exist_is_one_line_and_nothing_is_started(sweep: Sweep, tmp_path: Path) -> None:
    process = sweep("train.dim=4", "train.mapping.nois=0.2")
    output, errors = process.communicate()
    assert (process.returncode, output) == (78, "")
    assert len(errors.splitlines()) == 1
    assert "did you mean train.mapping.noise?" in errors
    assert not (tmp_path / "sweep").exists()


def test_runs_that_fail_are_named_and_do_not_stop_those_beside_them(sweep: Sweep, tmp_path: Path) -> None:
    process = sweep("train.dim=4", "train.window=3", options=["--jobs", "2", "--set", "reviews.path=gone.json.gz"])
    output, errors = process.communicate()
    assert process.returncode == 66, output + errors
    happened = [line.split()[1:3] for line in output.splitlines() if line.startswith("sweep: ")]
    assert happened[:2] == [["base/seed=0", "started;"], ["base/seed=0", "failed"]]
    assert happened[2:4] == [["train.dim=4/seed=0", "started;"], ["train.window=3/seed=0", "started;"]]
    assert sorted(happened[4:]) == [["train.dim=4/seed=0", "failed"], ["train.window=3/seed=0", "failed"]]
    assert len(errors.splitlines()) == 3
    assert all("66: vasg preprocess_reviews: " in line and "gone.json.gz" in line for line in errors.splitlines())
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {"runs"}


@pytest.mark.slow
def test_a_stopped_and_a_killed_sweep_go_on_where_they_were(sweep: Sweep, tmp_path: Path) -> None:
    root, vary = tmp_path / "sweep", ("train.dim=4,8", "reviews.category=Nothing")
    base, point, bad = (root / "runs" / name / "seed=0" for name in ("base", "train.dim=4", "reviews.category=Nothing"))

    stopped = sweep(*vary)
    wait_for(lambda: Warehouse(base).has("walks"), stopped)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate()
    assert stopped.returncode == 128 + signal.SIGTERM
    assert not processes_of(root), "it left its runs behind"
    assert not Warehouse(base).has("metrics")

    killed = sweep(*vary)
    wait_for(lambda: (point / "lock").exists() and Warehouse(base).has("metrics") and processes_of(point), killed)
    killed.kill()
    killed.communicate()
    finished = Warehouse(base).catalog()

    third = sweep(*vary)  # while the run of the killed one may still be at work
    output, errors = third.communicate()
    assert third.returncode == 65, output + errors
    assert "sweep: base/seed=0 is up to date (1 of 3)" in output
    assert Warehouse(base).catalog() == finished, "what was finished was done again"
    kept = {run_id for run_id in (s["run_id"] for s in finished["stages"].values()) if run_id}
    shared = Warehouse(point).catalog()["stages"]
    assert [name for name, stage in shared.items() if stage["run_id"] not in kept] == ["train", "score"]
    assert Warehouse(point).files("walks")[0].samefile(Warehouse(base).files("walks")[0])
    assert errors.startswith(
        "vasg: reviews.category=Nothing/seed=0 failed with exit code 65: vasg preprocess_reviews: "
    )
    assert f"(log {bad}.log)" in errors
    assert len(errors.splitlines()) == 1

    rows = pd.read_parquet(root / "sweep.parquet")
    assert set(rows.groupby(["key", "point"]).groups) == {
        ("train.dim", "4"), ("train.dim", "8"), ("reviews.category", "Women"),
    }  # fmt: skip
    asked = rows[(rows["point"] == "4") & (rows["pairs"] == "test")].drop(columns=["key", "point", "is_base", "pairs"])
    metrics = Warehouse(point).read_arrow("metrics").to_pandas()
    assert sorted(asked["value"]) == sorted(metrics["value"])
    log = Warehouse(point).read_arrow("training_log").to_pandas()
    chosen = log[(log["phase"] == "blend") & (log["quantity"] == "validation_auc")]["value"].tolist()
    of_vasg = rows[(rows["model"] == "vasg") & (rows["pairs"] == "validation")]
    assert of_vasg[of_vasg["point"] == "4"]["value"].tolist() == chosen
    assert {path.name for path in root.iterdir()} == {
        "runs", "models.csv", "sweep.parquet", "sweep-train.dim.png", "sweep-reviews.category.png",
    }  # fmt: skip
    assert "validation, warm        8 (base)" in output
