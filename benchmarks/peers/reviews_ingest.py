"""Amazon reviews to Parquet without Spark and without a look at what is wrong: REVIEWS.json.gz python|pandas OUT."""

import gzip
import json
import sys
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

path, how, out = sys.argv[1:]
fields = {"reviewerID": str, "asin": str, "overall": float, "unixReviewTime": int}
started = time.perf_counter()
if how == "pandas":
    pd.read_json(path, lines=True)[list(fields)].to_parquet(out)
else:
    columns: list[list] = [[] for _ in fields]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            review = json.loads(line)
            for column, (name, kind) in zip(columns, fields.items(), strict=True):
                column.append(kind(review[name]))
    pq.write_table(pa.table(columns, names=list(fields)), out)
print(json.dumps({"seconds": time.perf_counter() - started}))
