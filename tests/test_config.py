"""Configuration: what is accepted, what is refused and how, and that it survives being written down."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vasg.config import Config, to_dict
from vasg.config_file import from_dict, load, to_toml
from vasg.errors import ConfigurationError, InputMissing


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""))
    assert config == Config()
    assert (config.train.window, config.train.dim, config.split.min_user_products) == (7, 100, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 1", "unknown key sede; did you mean seed?"),
        ("[walks]\nwalk_lenght = 9", "unknown key walks.walk_lenght; did you mean walks.walk_length?"),
        ("[train.decoder]\nhiden = [8]", "unknown key train.decoder.hiden; did you mean train.decoder.hidden?"),
        ("[score]\nmetric_k = []", "score.metric_k: .*at least 1 item"),
        ("[score]\nqqq = 1", "unknown key score.qqq; valid keys: top_k, metric_k, "),
        ("[wlaks]\nwalk_length = 9", "unknown key wlaks; did you mean walks?"),
        ("[walks]\nwalk_length = 'long'", "walks.walk_length: .*integer.*'long'"),
        ("[walks]\nwalk_length = '9'", "walks.walk_length: .*integer.*found '9'"),
        ("[train]\nepochs = true", "train.epochs: .*integer.*found True"),
        ("[train]\nlearning_rate = true", "train.learning_rate: .*number.*found True"),
        ("[gates]\nenabled = 1", "gates.enabled: .*boolean.*found 1"),
        ("[walks]\nwalk_length = 1", "walks.walk_length: .*greater than or equal to 2.*found 1"),
        ("[walks]\nwalk_length = 9.5", "walks.walk_length: .*found 9.5"),
        ("[train]\nwindow = 6", "train.window: window is the full width around a node, an odd number .*found 6"),
        ("[train]\nlearning_rate = nan", "train.learning_rate: .*found nan"),
        ("[train.decoder]\nhidden = [8, 0]", "train.decoder.hidden.1: .*found 0"),
        ("[train]\nlearning_rate = inf", "train.learning_rate: .*found inf"),
        ("[reviews]\nimplicit_rating = nan", "reviews.implicit_rating: .*found nan"),
        ("[split]\nmethod = 'random'", "split.method: .*'leave_one_out', 'time' or 'none'.*found 'random'"),
        ("[split]\ntest_fraction = 1.5", "split.test_fraction: .*found 1.5"),
        ("seed = -1", "seed: .*found -1"),
        ("run_date = 'tomorrow'", "run_date: .*found 'tomorrow'"),
        ("run_date = '2025-02-30'", "run_date: .*found '2025-02-30'"),
        ("walks = 3", "walks: .*found 3"),
        ("[train]\nworkers = 3", r"walks.lanes \(4\) must be a multiple of train.workers \(3\)"),
        ("seed = ", "config.toml cannot be read: "),
        ("seed = " + "9" * 5000, "config.toml cannot be read: Exceeds the limit"),
        ("seed = " + "[" * 5000, "config.toml cannot be read: maximum recursion depth"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("seed = 3", encoding="utf-8-sig")
    assert load(path).seed == 3


def test_a_missing_file_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"nowhere\.toml does not exist"):
        load(tmp_path / "nowhere.toml")


def test_overrides_win_over_the_file_and_are_typed_by_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 1\n[reviews]\nformat = 'csv'\n")
    config = load(
        path,
        [
            "seed=2", "reviews.format=parquet", "split.validation=false", "train.decoder.hidden=[3, 4]",
            "reviews.category=2014", "run_date=2025-01-31", "train.learning_rate=1e-2", "walks.strategy='partitioned'",
        ],
    )  # fmt: skip
    assert config.seed == 2
    assert (config.reviews.format, config.reviews.category, config.run_date) == ("parquet", "2014", "2025-01-31")
    assert config.split.validation is False
    assert config.train.decoder.hidden == (3, 4)
    assert (config.train.learning_rate, config.walks.strategy) == (0.01, "partitioned")


def test_the_paper_s_objective_has_defaults_of_its_own_that_give_way_to_what_is_set(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = 1\n[train.mapping]\nnoise = 0.2")
    paper = ["train.objective=paper"]
    given = [[], paper, [*paper, "train.learning_rate=0.2", "train.mapping.objective=both"]]
    found = [load(path, overrides).train for overrides in given]
    assert [train.learning_rate for train in found] == [0.1, 0.001, 0.2]
    assert [train.mapping.objective for train in found] == ["both", "reconstruction", "both"]
    assert [train.mapping.dropout for train in found] == [0.2, 0.5, 0.5]
    assert [train.mapping.noise for train in found] == [0.2, 0.2, 0.2]
    assert from_dict(to_dict(load(path, paper))) == load(path, paper)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write --set section.key=value"),
        ("=3", "write --set section.key=value"),
        ("seed.x=3", "seed is not a section"),
        ("walks.length=3", "unknown key walks.length; did you mean walks.walk_length"),
        ("walk.walk_length=3", "unknown key walk; did you mean walks"),
        ("walks.walk_length=", "walks.walk_length: .*found ''"),
        ("reviews.path=/raw/\udcff.csv", r"reviews\.path: /raw/\\udcff\.csv is not UTF-8"),
        ("train.baselines=['\udcff']", r"train\.baselines: .*udcff.* is not UTF-8"),
        ("\udcff=1", r"\\udcff: 1 is not UTF-8"),
        ("train.learning_rate=0", "train.learning_rate: .*greater than 0.*found 0"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(write(tmp_path, "seed = 1"), [override])


def test_relative_paths_belong_to_the_file_and_those_of_overrides_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    path = write(
        tmp_path / "conf", "[reviews]\npath = '../raw/a.csv'\n[features]\npath = 's3://bucket/{product_id}.jpg'\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load(path, ["reviews.metadata=meta.json"])
    assert config.reviews.path == str(tmp_path / "raw" / "a.csv")
    assert config.reviews.metadata == str(tmp_path / "meta.json")
    assert config.features.path == "s3://bucket/{product_id}.jpg"
    assert load(path, ["reviews.path="]).reviews.path == ""
    for address in ("file:/data/b.csv", "file:///data/b.csv"):  # Hadoop writes both
        assert load(path, [f"reviews.path={address}"]).reviews.path == "file:///data/b.csv"
    assert load(path, ["reviews.path=/data/b.csv"]).reviews.path == "/data/b.csv"


words = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)
valid_trees = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "reviews": st.fixed_dictionaries(
            {"category": words, "user_column": words, "implicit_rating": st.floats(-9, 9)}
        ),
        "split": st.fixed_dictionaries({"validation": st.booleans(), "test_fraction": st.floats(0, 1)}),
        "train": st.fixed_dictionaries(
            {
                "workers": st.sampled_from([1, 2, 4]),
                "window": st.integers(1, 9).map(lambda radius: 2 * radius + 1),
                "decoder": st.fixed_dictionaries({"hidden": st.lists(st.integers(1, 99), max_size=3)}),
            }
        ),
        "score": st.fixed_dictionaries({"baselines": st.lists(st.sampled_from(["random", "wboi"]), max_size=2)}),
    },
)


@given(tree=valid_trees)
def test_the_effective_configuration_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    config = from_dict(tree)
    path = tmp_path_factory.mktemp("config") / "effective.toml"
    path.write_text(to_toml(config), encoding="utf-8", newline="")
    assert load(path) == config


def test_paths_survive_the_round_trip(tmp_path: Path) -> None:
    config = load(write(tmp_path, "[reviews]\npath = 'raw/a.csv'\n[features]\npath = 'img/{product_id:.3}.jpg'"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load(write(elsewhere, to_toml(config))) == config


def test_every_section_and_key_can_be_written(tmp_path: Path) -> None:
    def names(kind: Any, prefix: str = "") -> list[str]:
        return [
            name
            for field in dataclasses.fields(kind)
            for name in (
                names(field.default, f"{prefix}{field.name}.")
                if dataclasses.is_dataclass(field.default)
                else [prefix + field.name]
            )
        ]

    text = to_toml(Config())
    assert all(f"{name.rpartition('.')[2]} = " in text for name in names(Config()))
    assert load(write(tmp_path, text)) == Config()
    assert to_dict(Config())["train"]["decoder"]["hidden"] == (256, 512, 1024, 2048)
