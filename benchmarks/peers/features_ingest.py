"""A .b feature file to Parquet in one process, features checked for being finite: FILE.b I OUT."""

import json
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

path, dim, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
schema = pa.schema([("product_id", pa.string()), ("feature", pa.list_(pa.float32()))])
started = time.perf_counter()
records = np.memmap(path, np.dtype([("id", "S10"), ("feature", "<f4", (dim,))]), "r")
with pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=False, write_statistics=False) as writer:
    for begin in range(0, len(records), 2048):
        part = records[begin : begin + 2048]
        values = np.ascontiguousarray(part["feature"])
        keep = np.isfinite(values).all(axis=1)
        offsets = np.arange(keep.sum() + 1, dtype=np.int32) * dim
        ids = pa.array(np.ascontiguousarray(part["id"])[keep]).cast(pa.string())
        writer.write_table(pa.table([ids, pa.ListArray.from_arrays(offsets, values[keep].ravel())], schema=schema))
print(json.dumps({"seconds": time.perf_counter() - started}))
