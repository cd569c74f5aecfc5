"""The report: one file, made from what a real run published, that asks nobody for anything."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from pyspark.sql import SparkSession
from scoring_shop import publish, tables, with_splits
from scoring_shop import shop as shop_of_vectors

from vasg import cli, schemas
from vasg.analysis.section import Section
from vasg.errors import InputMissing
from vasg.report import funnel
from vasg.report.analyses import analysis_chapter
from vasg.report.command import page
from vasg.report.coverage import gini, long_tail
from vasg.report.page import Grid
from vasg.report.quality import Measured, lead_sentence
from vasg.report.run import published_run
from vasg.report.strips import BOUGHT, PLACES, USERS, strips_chapter
from vasg.report.training import training_chapter
from vasg.scoring.bootstrap import FEWEST_PAIRS
from vasg.scoring.inputs import SPLITS
from vasg.warehouse.tables import Warehouse

Run = Callable[..., int]
HOSTILE = "<script>alert(1)&"
STAGES = ["preprocess_reviews", "extract_features", "filter_users", "generate_walks", "train", "score"]
CONFIG = """
seed = 3
run_date = "2024-05-06"
[reviews]
path = "purchases.csv"
max_bad_fraction = 0.1
[features]
source = "pictures"
path = "images/{product_id}.jpg"
max_bad_fraction = 0.1
[split]
min_user_products = 3
[walks]
walk_length = 6
walks_per_node = 4
[train]
dim = 8
epochs = 2
device = "cpu"
baselines = []
[train.decoder]
hidden = [8]
[train.mapping]
steps = 8
[score]
top_k = 5
metric_k = [2, 5]
bootstrap = 30
baselines = ["random", "most_popular", "wboi"]
"""


def shop(folder: Path, users: int = 14, products: int = 24) -> Path:
    """Raw data with ids that are HTML, repeats, one bad line and one file that is no picture; returns the configuration."""
    rng = np.random.default_rng(4)
    (folder / "images").mkdir(parents=True)
    for p in range(products):
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).save(folder / "images" / f"{HOSTILE}p{p:02d}.jpg")
    (folder / "images" / "broken.jpg").write_bytes(b"not a picture")
    lines = [
        f"{HOSTILE}u{u:02d},{HOSTILE}p{p:02d}" for u in range(users) for p in rng.permutation(products)[: 6 + u % 3]
    ]
    (folder / "purchases.csv").write_text("\n".join(["user_id,product_id", *lines, *lines[:4], f"{HOSTILE}u00,", ""]))
    config = folder / "config.toml"
    config.write_text(CONFIG)
    return config


@pytest.fixture(scope="module")
def published(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """All stages, run in this process."""
    from conftest import run_job

    config = shop(tmp_path_factory.mktemp("shop"))
    root = config.parent / "root"
    for stage in STAGES:
        assert run_job.__wrapped__(spark)(stage, config, root) == 0, stage
    return Warehouse(root)


@pytest.fixture(scope="module")
def html(published: Warehouse) -> str:
    assert cli.main(["report", "--root", str(published.root)]) == 0
    return (published.root / "reports" / f"{run_id(published)}.html").read_text(encoding="utf-8")


def run_id(warehouse: Warehouse) -> str:
    return str(warehouse.manifest("recommendations")["run_id"])


class Page(HTMLParser):
    """Tags with their attributes, and all text outside of the style sheet."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data if self.tags and self.tags[-1][0] != "style" else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check_self_contained(html: str) -> Page:
    """What every report promises, whatever is in it."""
    page = Page(html)
    assert len(html.encode()) < 5_000_000
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "action"):
            address = attributes.get(name) or "#"
            assert address.startswith(("data:image/", "#")), address[:80]
            assert not address.startswith("#") or address[1:] in places | {""}
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]  # type: ignore[index]
    assert "url(" not in style
    assert "@import" not in style
    assert all(picture["alt"] for picture in page.all("img"))
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == len(page.all("section")) == len(page.all("a"))
    return page


def test_the_page_is_complete_in_itself_and_says_what_was_measured(html: str, published: Warehouse) -> None:
    page = check_self_contained(html)
    metrics = published.read_arrow("metrics").to_pandas()
    for row in metrics[metrics["metric"] == "auc"].itertuples():
        certainty = f"{row.ci_low:.3f} to {row.ci_high:.3f}" if row.n >= FEWEST_PAIRS else f"{row.n} pair"
        assert f"{row.value:.3f} ({certainty}" in page.text, row
    top_k = metrics["metric"].str.contains("@") & (metrics["candidates"] == "all")
    for row in metrics[top_k & metrics["setting"].isin(["warm", "cold"])].itertuples():
        assert f"{row.value:.4f}" in page.text, row
    made_with = [summary["made_with"] for summary in published.catalog()["stages"].values()]
    assert len(made_with) == len(STAGES)
    assert all(versions == made_with[0] for versions in made_with)
    assert made_with[0]["numpy"] == np.__version__
    assert all(version in page.text for version in made_with[0].values())
    for setting, here, default in (
        ("walks.walk_length", 6, 40),
        ("train.decoder.hidden", "(8,)", "(256, 512, 1024, 2048)"),
    ):
        assert f"{setting}{here}{default}" in page.text
    assert "Published, other data" in page.text
    assert "0.8964" in page.text


def test_ids_that_are_html_are_shown_and_not_run(html: str, published: Warehouse) -> None:
    page = Page(html)
    shown = set(re.findall(r"<script>alert\(1\)&[up]\d\d", page.text))
    recommended = published.read_arrow("recommendations").to_pandas()
    assert {name for name in shown if name[-3] == "u"} <= set(recommended["user_id"])
    assert len({name for name in shown if name[-3] == "u"}) == 8
    assert len({name for name in shown if name[-3] == "p"}) > 8


def test_the_same_tables_give_the_same_file_wherever_it_goes(html: str, published: Warehouse, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b.html"
    assert cli.main(["report", "--root", str(published.root), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == html
    assert [path.name for path in out.parent.iterdir()] == ["b.html"]


def test_what_cannot_be_read_or_written_is_said_in_one_line(
    published: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", "--root", str(tmp_path)]) == 66
    assert capsys.readouterr().err == f"vasg: table recommendations is not in {tmp_path}; run score first\n"
    assert cli.main(["report", "--root", str(published.root), "--out", str(tmp_path)]) == 73
    assert capsys.readouterr().err == f"vasg: {tmp_path} cannot be written: Is a directory\n"
    assert list(tmp_path.iterdir()) == []


def test_strips_show_the_tables(published: Warehouse) -> None:
    run = published_run(str(published.root))
    pixels = np.zeros((9, 9, 3), np.uint8)
    chapter = strips_chapter(run, lambda _, products, size: dict.fromkeys(products[::2], pixels))
    nodes = published.read_arrow("nodes").to_pandas().set_index("node")
    pairs = published.read_arrow("interactions").to_pandas()
    lists = published.read_arrow("recommendations").to_pandas()
    ranks = published.read_arrow("pair_ranks").to_pandas().query("model == 'vasg' and candidates == 'setting'")
    share = dict(
        zip(
            zip(ranks["user"], ranks["product"], strict=True),
            100 * (ranks["candidate_count"] - ranks["above"] - ranks["tied"]) // ranks["candidate_count"],
            strict=True,
        )
    )
    strips = chapter.blocks[0].strips  # type: ignore[union-attr]
    assert len({strip.user_id for strip in strips}) == USERS
    seen = set()
    for strip in strips:
        user = nodes.index[nodes["id"] == strip.user_id][0]
        mine = pairs[pairs["user"] == user].sort_values("product")
        bought, held_out, recommended = (tiles for _, tiles in strip.groups)
        assert [t.product_id for t in bought] == nodes["id"][mine.loc[mine["split"] == "train", "product"]].tolist()[
            :BOUGHT
        ]
        expected = lists[lists["user_id"] == strip.user_id].sort_values("rank")[:PLACES]
        assert [(t.product_id, t.is_cold) for t in recommended] == list(
            zip(expected["product_id"], expected["is_cold"], strict=True)
        )
        rest = mine[mine["split"] != "train"]
        assert [t.product_id for t in held_out] == nodes["id"][rest["product"]].tolist()
        for tile, pair in zip(held_out, rest.itertuples(), strict=True):
            assert tile.is_cold == pair.split.endswith("cold")
            value = share.get((user, pair.product), np.nan)
            assert tile.note == (
                pair.split[: pair.split.index("_")] if np.isnan(value) else f"test: above {value:.0f} %"
            )
        seen |= {tile.src is None for tile in bought + recommended}
    assert seen == {True, False}


def publish_log(root: Path, log: pa.Table) -> None:
    with Warehouse(root).publication("train", "later", "") as publication:
        publication.write_arrow("training_log", log)
        publication.commit("", {})


def test_the_weights_are_told_and_whether_they_were_chosen(published: Warehouse, tmp_path: Path) -> None:
    log = published.read_arrow("training_log").to_pylist()
    weights = {row["quantity"]: row["value"] for row in log if row["phase"] == "blend"}
    told = training_chapter(published_run(str(published.root)))
    assert told is not None
    assert (
        f"chosen on validation pairs and never on test pairs: skipgram {weights['skipgram']:.3g}, "
        in told.paragraphs[0]
    )
    assert f"popularity {weights['popularity']:.3g}. " in told.paragraphs[0]
    assert f"{weights['validation_auc']:.3f}" in told.paragraphs[0]
    root = shutil.copytree(published.root, tmp_path / "root")
    none = [row for row in log if row["quantity"] != "validation_auc"]
    publish_log(root, pa.Table.from_pylist(none, schemas.TABLES["training_log"].arrow()))
    told = training_chapter(replace(published_run(str(root)), warehouse=Warehouse(root)))
    assert told is not None
    assert "not chosen on validation pairs: skipgram" in told.paragraphs[0]


def test_every_record_is_in_the_funnel(published: Warehouse) -> None:
    run = published_run(str(published.root))
    steps = funnel.purchases(run)
    assert (steps[0].records, steps[0].leave) == (102, {"product_id missing": 1})
    assert steps[1].leave == {"repeats of a pair": 4}
    assert steps[-1].records == sum(row["split"] == "train" for row in published.read_arrow("interactions").to_pylist())
    pictures = funnel.image_features(run)
    assert (pictures[0].records, pictures[0].leave, pictures[1].records) == (25, {"not a picture": 1}, 24)
    for step, after in [*pairwise(steps), *pairwise(pictures)]:
        assert step.records - sum(step.leave.values()) == after.records
    run.summaries["filter_users"]["counts"]["repeats_removed"] -= 3
    assert {"not explained": 3}.items() <= {
        k: v for step in funnel.purchases(run) for k, v in step.leave.items()
    }.items()


def publish_catalogue_without(product: str, root: Path) -> None:
    """Publish nodes and interactions in which this product is missing, so that those after it have other numbers."""
    warehouse = Warehouse(root)
    nodes, pairs = (warehouse.read_arrow(table).to_pandas() for table in ("nodes", "interactions"))
    gone = nodes.loc[nodes["id"] == product, "node"].item()
    nodes, pairs = nodes[nodes["node"] != gone], pairs[pairs["product"] != gone]
    nodes = nodes.assign(node=nodes["node"] - (nodes["node"] > gone))
    pairs = pairs.assign(product=pairs["product"] - (pairs["product"] > gone))
    with warehouse.publication("filter_users", "later", "") as publication:
        for table, rows in (("nodes", nodes), ("interactions", pairs)):
            publication.write_arrow(table, pa.Table.from_pandas(rows, schemas.TABLES[table].arrow()))
        publication.commit("", {})


@pytest.mark.fault
def test_the_page_is_about_the_lists_and_what_they_were_made_from(published: Warehouse, tmp_path: Path) -> None:
    root = shutil.copytree(published.root, tmp_path / "root")
    before = page(published_run(str(root)))
    nodes = published.read_arrow("nodes").sort_by("node").to_pylist()
    gone = next(row["id"] for row in nodes if row["node_type"] == "product")  # the first: all others are renumbered
    publish_catalogue_without(gone, root)
    assert page(published_run(str(root))) == before, "of a night that ended before it had lists nothing is told"
    assert cli.main(["gc", "--root", str(root), "--keep", "1"]) == 0
    with pytest.raises(InputMissing, match="what table recommendations was made from is not published any more"):
        published_run(str(root))


def test_what_is_published_meanwhile_does_not_enter_the_page(published: Warehouse, tmp_path: Path) -> None:
    root = shutil.copytree(published.root, tmp_path / "root")
    run = published_run(str(root))
    log = published.read_arrow("training_log")
    publish_log(root, log.slice(0, 0))
    assert Warehouse(root).read_arrow("training_log").num_rows == 0
    assert run.warehouse.read_arrow("training_log").equals(log)


def test_analyses_become_chapters() -> None:
    columns = {"method": ["a<b"], "auc": [0.5], "auc_low": [0.25], "auc_high": [0.75], "n": [12345], "ok": [True]}
    table = pa.table(columns | {"none": pa.array([None], pa.float64())})
    chapter = analysis_chapter(Section("Title", "one\n\ntwo", [Figure(figsize=(1, 1)), Figure(figsize=(1, 1))], table))
    assert chapter.paragraphs == ["one", "two"]
    *pictures, grid = chapter.blocks
    assert [picture.pictures[0].src[:23] for picture in pictures] == ["data:image/webp;base64,"] * 2  # type: ignore[union-attr]
    assert isinstance(grid, Grid)
    assert grid.head == ["method", "auc", "n", "ok", "none"]
    assert grid.rows == [["a<b", "0.5 (0.25 to 0.75)", "12,345", "yes", "-"]]


@pytest.mark.parametrize(
    ("users", "cold", "shown"), [(9, 0, "User u0"), (1, 4, "User u0"), (1, 0, "no product is left to recommend")]
)
def test_a_nightly_run_without_pictures_log_and_counts(
    run_job: Run, tmp_path: Path, users: int, cold: int, shown: str
) -> None:
    given = shop_of_vectors(5, users=users, warm=12, cold=cold, dim=4, most=6)
    warm = ~given.purchases.is_cold[given.purchases.product]
    columns = {name: getattr(given.purchases, name)[warm] for name in ("user", "product", "rating", "split")}
    given = replace(given, purchases=replace(given.purchases, **columns))
    nightly = tables(with_splits(given, np.full(warm.sum(), SPLITS.index("train"))))
    warehouse, config = publish(tmp_path / "w", nightly), tmp_path / "c.toml"
    config.write_text('[features]\nsource = "feature_file"\n[split]\nmethod = "none"\n[score]\ntop_k = 3\n')
    assert run_job("score", config, warehouse.root) == 0
    assert cli.main(["report", "--root", str(warehouse.root), "--out", str(tmp_path / "r.html")]) == 0
    page = check_self_contained((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "nothing to measure" in page.text
    assert "left no counts" in page.text
    assert "split.methodnone" in page.text
    assert shown in page.text
    assert "products are shown by their ids" in page.text


def leads(*intervals: tuple[float, float], n: int = 30) -> list[Measured]:
    return [Measured(f"m{i}", (low + high) / 2, low, high, n) for i, (low, high) in enumerate(intervals)]


def test_a_lead_is_claimed_only_where_its_interval_is_above_zero() -> None:
    assert lead_sentence("Among warm products", leads((0.2, 0.3), (0.02, 0.04))) == (
        "Among warm products it leads every one of 2 baselines; the smallest lead is over m1, +0.030 (0.020 to 0.040)."
    )
    assert lead_sentence("Among cold products", leads((0.0, 0.3), (0.02, 0.04), (-0.2, -0.1))) == (
        "Among cold products it leads 1 of 3 baselines; it is level with m0, +0.150 (0.000 to 0.300); "
        "it is behind m2, -0.150 (-0.200 to -0.100)."
    )
    few = lead_sentence("Among cold products", leads((0.2, 0.3), n=29))
    assert few == "Among cold products there are too few test pairs (29) to tell it from the baselines."
    only = lead_sentence("Among cold products", leads((0.2, 0.3)))
    assert only == "Among cold products it leads the one baseline, m0, +0.250 (0.200 to 0.300)."
    assert leads((0.2, 0.3), n=1)[0].text() == "0.250 (1 pair)"


amounts = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30)


@given(amounts)
def test_gini_and_long_tail_are_what_their_definitions_say(pairs: list[tuple[int, int]]) -> None:
    weight, bought = (np.array(column) for column in zip(*pairs, strict=True))
    mean = weight.mean()
    differences = np.abs(weight[:, None] - weight[None, :]).mean()
    assert gini(weight) == pytest.approx(differences / (2 * mean) if mean else 0.0)
    products, shares = long_tail(weight, bought)
    levels = sorted(set(bought.tolist()), reverse=True)
    assert products.tolist() == [0.0, *(np.mean(bought >= level) for level in levels)]
    expected = [0.0, *(weight[bought >= level].sum() / max(1, weight.sum()) for level in levels)]
    assert shares.tolist() == pytest.approx(expected)
