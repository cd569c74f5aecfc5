"""Every setting, its type and default: one tree of frozen dataclasses. ``config_file`` reads a file into it."""

import dataclasses
from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
PATH = "path"  # metadata that marks a field as a path of outside data

InputPath = Annotated[str, PATH]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Weight = Annotated[float, Field(ge=0.0)]
Baseline = Literal["random", "most_popular", "item_knn", "wboi", "visual_popular", "image_knn"]
LearnedBaseline = Literal["skipgram", "bpr", "vbpr"]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("window is the full width around a node, an odd number (7 = 3 on each side)")
    return value


def _a_day(value: str) -> str:
    if value:
        date.fromisoformat(value)  # its ValueError says what is wrong
    return value


@dataclass(frozen=True, config=_STRICT)
class Reviews:
    """[reviews] What was bought: reviews or transactions."""

    # file, folder or glob pattern; .gz and .bz2 are read as they are; files, and folders below those that are named or
    # matched, whose names begin with _ or . are skipped; what a URL other than file:// names is read anew by every run
    path: InputPath = ""
    format: Literal["amazon_2014", "amazon_2018", "amazon_2023", "csv", "parquet"] = "csv"
    user_column: str = "user_id"  # column names: csv and parquet only
    product_column: str = "product_id"
    rating_column: str = ""  # "" = every row has implicit_rating
    timestamp_column: str = ""  # seconds since 1970, a date (2018-09-20, 20180920) or a date and time; "" = 0
    implicit_rating: float = 1.0
    metadata: InputPath = ""  # Amazon metadata file; needed to choose a category
    category: str = ""  # keep the products of this category only, e.g. "Women"; "" = all
    max_bad_fraction: Fraction = 0.01  # more bad lines than this stop the run


@dataclass(frozen=True, config=_STRICT)
class Features:
    """[features] Where the image features come from."""

    source: Literal["none", "feature_file", "pictures"] = "none"
    # the .b file, or a pattern such as images/{product_id:.3}/{product_id}.jpg; of URLs and skipped names the same holds as
    # in [reviews]: with this pattern a product whose id begins with _ or . has no picture
    path: InputPath = ""
    dim: Positive = 4096  # length I of a feature in the .b file
    encoder: str = "descriptor"  # pictures: "descriptor", "torchvision:NAME" or "transformers:NAME"
    weights: InputPath = ""  # pictures: local weights of a pretrained encoder
    max_pixels: Positive = 50_000_000  # a larger picture is rejected before it is decoded
    max_bad_fraction: Fraction = 0.05


@dataclass(frozen=True, config=_STRICT)
class Split:
    """[split] Which users and products take part, and what is held out."""

    min_user_products: Positive = 5  # users with fewer distinct products are dropped
    missing_features: Literal["keep", "drop"] = "keep"  # products without a picture
    # "all": products with a picture that no kept user bought are cold nodes; "bought": they are left out
    catalogue: Literal["all", "bought"] = "all"
    method: Literal["leave_one_out", "time", "none"] = "leave_one_out"  # "none" trains on every pair: the nightly run
    validation: bool = True  # also hold out a validation product (leave_one_out) or period (time)
    test_fraction: Fraction = 0.1  # time: the latest share of the pairs
    validation_fraction: Fraction = 0.1  # time: the share before that
    holdout_cold_fraction: Fraction = 0.0  # share of products whose every purchase is held out


@dataclass(frozen=True, config=_STRICT)
class Walks:
    """[walks] Random walks over the network of users and products (paper, section 3.1)."""

    walk_length: Annotated[int, Field(ge=2)] = 40  # nodes
    walks_per_node: Positive = 10
    transition: Literal["uniform", "rating"] = "uniform"
    strategy: Literal["auto", "replicated", "partitioned"] = "auto"
    replicated_limit_gib: PositiveFloat = 20.0  # auto: a larger graph is walked with one join a step
    row_group_size: Positive = 16_384  # walks, at most
    lanes: Positive = 4  # walks are dealt to this many equal lanes; it must be a multiple of train.workers


@dataclass(frozen=True, config=_STRICT)
class Decoder:
    """[train.decoder] M^-1, from an embedding back to the image feature (paper, section 3.2)."""

    hidden: tuple[Positive, ...] = (256, 512, 1024, 2048)
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5
    learning_rate: PositiveFloat = 1e-3
    # sampled: steps from one with the decoder to the next, fewer in short trainings (paper: each step); 0: no decoder at all
    every: Count = 32
    products_per_step: Positive = 512  # at most about this many distinct products in such a step


@dataclass(frozen=True, config=_STRICT)
class Mapping:
    """[train.mapping] M, from an image feature to an embedding, for cold products (paper, section 3.2)."""

    objective: Literal["reconstruction", "regression", "both"] = "both"
    steps: Positive = 800  # at most: it ends where products held out from it gain no more
    batch_size: Positive = 128
    learning_rate: PositiveFloat = 1e-3
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    noise: Annotated[float, Field(ge=0.0)] = 0.1  # standard deviation of the noise, in units of each feature's own


@dataclass(frozen=True, config=_STRICT)
class Blend:
    """[train.blend] Weights of the terms of the score, each in units of its own standard deviation.

    Validation pairs choose them; where there are none, as in the nightly run, these hold: put what ``vasg choices`` prints
    of an evaluation of the same shop there.
    """

    skipgram: Weight = 0.5
    plain_skipgram: Weight = 0.0
    prior: Weight = 0.75
    smooth_prior: Weight = 0.75
    mixed_logit: Weight = 0.5
    vbpr: Weight = 0.5
    bpr: Weight = 0.1
    co_purchases: Weight = 0.0
    popularity: Weight = 1.0


@dataclass(frozen=True, config=_STRICT)
class Pairwise:
    """[train.vbpr] and [train.bpr] Where no validation pairs choose these, as in the nightly run."""

    epochs: Positive = 30
    regularisation: Weight = 0.03


# what [train] has by default where its objective is the paper's (section 3.2) and ours has something else
PAPER = {"learning_rate": 1e-3, "mapping.objective": "reconstruction", "mapping.dropout": 0.5}


@dataclass(frozen=True, config=_STRICT)
class Train:
    """[train] Skip-Gram with the image decoder, then the mapping M."""

    workers: Positive = 1  # Horovod processes; 1 trains in the job's own process
    launcher: Literal["spark", "horovodrun"] = "spark"  # how more than one worker is started
    device: Literal["auto", "cpu", "cuda"] = "auto"
    objective: Literal["sampled", "paper"] = "sampled"  # paper: equations 1-3, no negative samples; defaults of PAPER
    dim: Positive = 100  # D
    window: Annotated[int, Field(ge=3), AfterValidator(_odd)] = 7  # full width
    epochs: Positive = 4
    batch_walks: Positive = 256  # walks in a global batch, over all workers
    learning_rate: PositiveFloat = 0.1  # of row-wise Adagrad; PAPER has that of Adam
    negatives: Positive = 8  # sampled: negative nodes of each type, drawn for each walk and shared by its pairs
    negative_weight: PositiveFloat = 5.0  # sampled: the negatives weigh as much as this many a pair
    # sampled: L2 that pulls the center to what pictures say of it, for each pair, divided by the center's purchases
    regularisation: Annotated[float, Field(ge=0.0)] = 6.0
    baselines: tuple[LearnedBaseline, ...] = get_args(LearnedBaseline)  # where there are test pairs
    checkpoint_seconds: Count = 60  # at most this often
    restarts: Count = 3  # of all workers, from the last checkpoint, when one is lost
    decoder: Decoder = Decoder()
    mapping: Mapping = Mapping()
    blend: Blend = Blend()
    vbpr: Pairwise = Pairwise()
    bpr: Pairwise = Pairwise(100, 0.1)

    def __post_init__(self) -> None:
        if self.decoder.every == 0 and self.mapping.objective != "regression":
            raise ValueError(
                'decoder.every = 0 leaves no decoder to reconstruct with; set mapping.objective = "regression"'
            )


@dataclass(frozen=True, config=_STRICT)
class Score:
    """[score] Metrics and recommendation tables."""

    top_k: Positive = 100
    metric_k: Annotated[tuple[Positive, ...], Field(min_length=1)] = (10, 50, 100)
    baselines: tuple[Baseline, ...] = get_args(Baseline)
    bootstrap: Annotated[int, Field(ge=20)] = 1000  # resamples behind each confidence interval
    max_cold_share: Fraction = 0.5  # of score.top_k places, rounded down, but at least one unless it is 0


@dataclass(frozen=True, config=_STRICT)
class Gates:
    """[gates] What new recommendations must keep of the last version to replace it. They decide no stage's output."""

    enabled: bool = True
    min_rows: Fraction = 0.7  # of the last version's rows
    min_coverage: Fraction = 0.5  # of the last version's number of distinct products in lists
    max_cold_change: Fraction = 0.25  # of the share of cold products in lists, up or down
    max_auc_drop: Fraction = 0.02  # of vasg in any setting, where the confidence intervals are apart
    max_spread_change: Annotated[float, Field(gt=1.0)] = 100.0  # times: best minus worst score of a list, mean


@dataclass(frozen=True, config=_STRICT)
class Config:
    """The whole configuration. ``seed`` governs split, walks, initialisation and sampling."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    run_date: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$"), AfterValidator(_a_day)] = ""  # "" = today, UTC
    reviews: Reviews = Reviews()
    features: Features = Features()
    split: Split = Split()
    walks: Walks = Walks()
    train: Train = Train()
    score: Score = Score()
    gates: Gates = Gates()

    def __post_init__(self) -> None:
        if self.walks.lanes % self.train.workers:
            raise ValueError(
                f"walks.lanes ({self.walks.lanes}) must be a multiple of train.workers ({self.train.workers})"
            )


def to_dict(config: Config) -> dict[str, Any]:
    """The tree of plain values behind a configuration."""
    return dataclasses.asdict(config)
