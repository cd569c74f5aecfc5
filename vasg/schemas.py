"""The tables that stages hand to each other and to the warehouse: names, columns, types, meanings.

This is the only module that knows column types. The descriptions in ``docs/tables.md`` are written from it:
``python -m vasg.schemas docs/tables.md``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vasg.errors import DataError

GENERATED = "<!-- from here on: python -m vasg.schemas docs/tables.md -->"


@dataclass(frozen=True)
class Column:
    """One column; ``types`` lists every Arrow type a reader must accept, the first is the usual one."""

    name: str
    types: tuple[pa.DataType, ...]
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table: its key, its columns, the stage that writes it and the Hive partition columns of its folders."""

    name: str
    writer: str
    meaning: str
    columns: tuple[Column, ...]
    partitions: tuple[Column, ...] = ()

    def arrow(self, **choices: pa.DataType) -> pa.Schema:
        """Arrow schema of a file of the table; ``choices`` picks among the types a column allows."""
        return pa.schema([pa.field(c.name, choices.get(c.name, c.types[0])) for c in self.columns])


def _column(name: str, kind: pa.DataType | tuple[pa.DataType, ...], meaning: str) -> Column:
    return Column(name, kind if isinstance(kind, tuple) else (kind,), meaning)


_LONG, _INT, _DOUBLE, _FLOAT, _STRING, _BOOL = (
    pa.int64(), pa.int32(), pa.float64(), pa.float32(), pa.string(), pa.bool_(),
)  # fmt: skip

_REJECT_COLUMNS = (
    _column("source", _STRING, "file the record came from"),
    _column("line", _LONG, "line of the file, from 1; record for binary files; -1 where there is none"),
    _column("reason", _STRING, "why the record was not used, see above"),
    _column("raw", _STRING, "the first 1,000 characters of the record; of a picture, what its decoder said"),
)

_ALL = (
    Table(
        "reviews", "preprocess_reviews", "One row for each usable line of the raw reviews or transactions.",
        (
            _column("user_id", _STRING, "the user, as in the source"),
            _column("product_id", _STRING, "the product, as in the source"),
            _column("rating", _FLOAT, "rating, or the configured implicit rating"),
            _column(
                "timestamp", _LONG,
                "seconds since 1970-01-01 UTC; a date, also 20180920, is its midnight; 0 where the source has none",
            ),
        ),
    ),
    Table(
        "rejects", "preprocess_reviews",
        "Lines and records of the raw data that did not become rows. Reasons of lines: line too long, blank line, not a JSON\n"
        "object, repeated header line, quotes not closed, wrong number of fields; of a field, with its name in the source:\n"
        "missing, is not text, is not UTF-8, is not a number, is not finite, unreadable. Of metadata also: nested too deep,\n"
        "not a Python literal, not a dictionary, categories is not a list of lists, ... is not a list of names. Of records of\n"
        "a feature file: id is empty, id is not printable ASCII without blanks, repeated id, feature not finite, feature\n"
        "all zero.",
        _REJECT_COLUMNS,
    ),
    Table(
        "rejected_pictures", "extract_features",
        "Pictures that did not become features. Reasons: empty file, file too large, not a picture, unreadable picture, too\n"
        "many pixels, path does not fit the pattern, feature not finite, feature all zero; another picture of the product\n"
        "(one is enough: no fault).",
        _REJECT_COLUMNS,
    ),
    Table(
        "image_features", "preprocess_reviews or extract_features", "One image feature for each product that has a picture.",
        (
            _column("product_id", _STRING, "the product"),
            _column("feature", pa.list_(_FLOAT), "image feature, I finite numbers, the same I and encoder for the whole table"),
        ),
    ),
    Table(
        "feature_sources", "extract_features",
        "The picture each image feature was made from, as it was then: a later run encodes only those that are new or changed.",
        (
            _column("product_id", _STRING, "the product"),
            _column("source", _STRING, "path of the picture"),
            _column("bytes", _LONG, "size of the file"),
            _column("changed", _LONG, "when the file was last changed, in milliseconds since 1970-01-01 UTC"),
        ),
    ),
    Table(
        "nodes", "filter_users",
        "Users and products that take part, numbered: users [0, U), warm products [U, U+W), cold after. Numbers hold within\n"
        "one version of this table only.",
        (
            _column("node", _LONG, "number of the node, without gaps from 0"),
            _column("node_type", _STRING, "user or product"),
            _column("id", _STRING, "user_id or product_id"),
            _column("is_cold", _BOOL, "product without any purchase in the split train"),
        ),
    ),
    Table(
        "interactions", "filter_users", "Distinct (user, product) pairs with the part each plays in training and evaluation.",
        (
            _column("user", _LONG, "node of the user"),
            _column("product", _LONG, "node of the product"),
            _column("rating", _FLOAT, "rating of the latest of repeated purchases"),
            _column("split", _STRING, "train, validation_warm, validation_cold, test_warm or test_cold"),
        ),
    ),
    Table(
        "walks", "generate_walks", "Random walks over the train pairs; every walk has walk_length nodes.",
        (
            _column("walk_id", _LONG, "start node x walks_per_node + repetition"),
            _column("walk", (pa.list_(_INT), pa.list_(_LONG)), "nodes in order; 64-bit where there are 2^31 nodes or more"),
        ),
        (_column("start_type", _STRING, "node_type of the first node"),),
    ),
    Table(
        "embeddings", "train",
        "One vector a node. The score of a product for a user is the inner product of their two rows. Nodes without a vector\n"
        "are in uncovered.",
        (
            _column("node", _LONG, "the node"),
            _column("node_type", _STRING, "user or product"),
            _column(
                "origin", _STRING,
                "trained: from purchases (and its picture); mapped: a cold product, from its picture alone, by M and all other "
                "terms of the score that read pictures (objective paper: by M)",
            ),
            _column(
                "embedding", pa.list_(_FLOAT),
                "train.dim + 1 numbers; the last is 1 for a user and the popularity bias of a product: leave it out of cosines. "
                "Objective paper: train.dim numbers, of length 1",
            ),
        ),
    ),
    Table(
        "baseline_embeddings", "train", "Vectors of the baselines that learn; a score is an inner product here, too.",
        (
            _column("model", _STRING, "skipgram (here without pictures), bpr or vbpr"),
            _column("node", _LONG, "the node"),
            _column("embedding", pa.list_(_FLOAT), "the vector, one length for each model"),
        ),
    ),
    Table(
        "training_log", "train", "What training measured, epoch by epoch.",
        (
            _column(
                "phase", _STRING,
                "skipgram (with pictures), mapping, blend (weights of the terms), plain_skipgram (without pictures: the baseline "
                "that other tables call skipgram), vbpr or bpr",
            ),
            _column("epoch", _INT, "from 1"),
            _column(
                "quantity", _STRING,
                "loss, decoder_loss, mean_cosine, effective_rank, ...; in phase blend the weight of each term of [train.blend], "
                "validation_auc of the published vectors on how many validation_pairs, where there are any, and kept (share of "
                "the scores' squares that train.dim numbers keep); in phases vbpr and bpr epochs, "
                "regularisation and validation_auc, in plain_skipgram the weights that the baseline skipgram got and its own",
            ),
            _column("value", _DOUBLE, "its value"),
        ),
    ),
    Table(
        "pair_ranks", "score",
        "For each model and test pair, how many candidates stand above it; metrics are means over it. Empty where\n"
        'nothing is held out (split.method = "none").',
        (
            _column("model", _STRING, "vasg or a baseline; skipgram is the one without pictures"),
            _column("setting", _STRING, "warm or cold: the kind of the test product"),
            _column("candidates", _STRING, "all (all products) or setting (products of the same kind)"),
            _column("user", _LONG, "node of the user"),
            _column("product", _LONG, "node of the test product"),
            _column("above", _LONG, "candidates with a higher score"),
            _column("tied", _LONG, "candidates with the same score"),
            _column("candidate_count", _LONG, "candidates: products of the set without those the user is known to have bought"),
        ),
    ),
    Table(
        "metrics", "score",
        "Quality of every model on the test pairs, with confidence intervals. Empty where nothing is held out\n"
        '(split.method = "none").',
        (
            _column("run_id", _STRING, "the run"),
            _column("model", _STRING, "vasg or a baseline; skipgram is the one without pictures"),
            _column(
                "setting", _STRING,
                "warm and cold hold all test pairs; cold_natural, cold_held_out and warm_few_shot are parts of them",
            ),
            _column("candidates", _STRING, "all (all products) or setting (products of the same kind, warm or cold)"),
            _column(
                "metric", _STRING,
                "auc, auc_strict, recall@K, ndcg@K, hit_rate@K; auc_lead, in the rows of baselines: the AUC of vasg less that of "
                "this model, positive where vasg is ahead",
            ),
            _column("value", _DOUBLE, "mean over test pairs (hit_rate@K: over their users)"),
            _column("ci_low", _DOUBLE, "lower end of the 95 % bootstrap interval; do not read intervals where n is below 30"),
            _column("ci_high", _DOUBLE, "upper end"),
            _column("n", _LONG, "test pairs that have candidates"),
        ),
    ),
    Table(
        "recommendations", "score",
        "The best products, not bought yet, for every user of nodes who is not in uncovered. Users with fewer than\n"
        "split.min_user_products products are not in nodes: they are in neither table.",
        (
            _column("user_id", _STRING, "the user"),
            _column("rank", _INT, "from 1, without gaps"),
            _column("product_id", _STRING, "the product"),
            _column(
                "score", _FLOAT,
                "inner product of the two rows of embeddings; comparable within a user's list only, not between users "
                "(decision 0003)",
            ),
            _column("is_cold", _BOOL, "nobody had bought the product in the training data"),
            _column("source", _STRING, "vasg"),
            _column("run_id", _STRING, "the run"),
        ),
        (_column("run_date", pa.date32(), "the setting run_date, or the UTC day on which scoring began"),),
    ),
    Table(
        "uncovered", "score", "Users and products of nodes that the recommendations cannot cover, with the reason.",
        (
            _column("id", _STRING, "user_id or product_id"),
            _column("node_type", _STRING, "user or product"),
            _column(
                "reason", _STRING,
                "user: no purchase in the training data, no embedding, or no product is left to recommend; product: no "
                "purchase in the training data and no usable picture, a picture but no embedding, no embedding, or cold, and "
                "score.max_cold_share is 0",
            ),
        ),
    ),
)  # fmt: skip

_MOST_NUMBERS = 2**31 - 1  # in one Arrow array of lists

TABLES: dict[str, Table] = {table.name: table for table in _ALL}


def list_column(values: NDArray[Any]) -> pa.ChunkedArray:
    """The rows of ``values`` [n, d] as an Arrow column of lists, without an object a row."""
    size = max(1, _MOST_NUMBERS // max(1, values.shape[1]))
    parts = (values[begin : begin + size] for begin in range(0, max(1, len(values)), size))
    return pa.chunked_array([_lists(part) for part in parts])


def _lists(values: NDArray[Any]) -> pa.ListArray:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).reshape(-1)))


def fixed_width(column: pa.Array, table: str, name: str) -> NDArray[np.float32]:
    """A column of float lists of one length as [n, length] float32. Raises DataError when lengths differ or are null."""
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    if (lengths.size and (lengths != lengths[0]).any()) or (lengths < 0).any() or column.flatten().null_count:
        raise DataError(
            f"table {table}: column {name} should hold lists of one length without nulls, found lengths "
            f"{lengths.min()} to {lengths.max()}; write the table again"
        )
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), -1) if len(column) else np.zeros((0, 0), np.float32)


def check(name: str, found: pa.Schema) -> None:
    """Raise DataError unless ``found`` has exactly the columns of table ``name``, in any order."""
    table = TABLES[name]
    columns = {c.name: c for c in table.columns}
    extra = sorted(set(found.names) - set(columns) - {c.name for c in table.partitions})
    if extra:
        raise DataError(f"table {name}: unexpected column {extra[0]}; expected {', '.join(columns)}")
    for column in columns.values():
        if column.name not in found.names:
            raise DataError(f"table {name}: column {column.name} is missing; found {', '.join(found.names)}")
        kind = found.field(column.name).type
        if not any(_same(kind, expected) for expected in column.types):
            expected_types = " or ".join(str(t) for t in column.types)
            raise DataError(f"table {name}: column {column.name} should be {expected_types}, found {kind}")


def _same(a: pa.DataType, b: pa.DataType) -> bool:
    """Equality that ignores how writers name and null-flag the elements of a list, and large against small offsets."""
    if pa.types.is_list(b):
        return bool(pa.types.is_list(a) or pa.types.is_large_list(a)) and _same(a.value_type, b.value_type)
    if pa.types.is_string(b):
        return bool(pa.types.is_string(a) or pa.types.is_large_string(a))
    return bool(a == b)


def markdown() -> str:
    """The generated part of docs/tables.md: a section for each table."""
    lines = [GENERATED]
    for table in TABLES.values():
        lines += [
            "",
            f"## {table.name}",
            "",
            f"{table.meaning} Writer: `{table.writer}`.",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        for column in table.columns + table.partitions:
            kind = " or ".join(_display(t) for t in column.types) + (
                ", partition" if column in table.partitions else ""
            )
            lines.append(f"| `{column.name}` | {kind} | {column.meaning} |")
    return "\n".join(lines) + "\n"


def _display(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"array<{_display(kind.value_type)}>"
    return {"int64": "long", "int32": "int", "bool": "boolean", "date32[day]": "date"}.get(str(kind), str(kind))


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(page.read_text(encoding="utf-8").partition(GENERATED)[0] + markdown(), encoding="utf-8")
