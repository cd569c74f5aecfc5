"""Top 100 of every user by Spark MLlib's recommendForAllUsers on two threads: VECTORS.npz; prints the seconds as JSON.

Runs in the project's own environment. MLlib has no public way to make a model of given vectors, but reads what it saved.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.ml.recommendation import ALSModel
from pyspark.sql import SparkSession

vectors = np.load(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "8g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.driver.maxResultSize", "4g")
        .getOrCreate()
    )
    saved = Path(folder, "model")
    for name, side in (("userFactors", "users"), ("itemFactors", "products")):
        frame = pd.DataFrame({"id": np.arange(len(vectors[side]), dtype=np.int32), "features": list(vectors[side])})
        spark.createDataFrame(frame, "id int, features array<float>").write.parquet(str(saved / name))
    metadata = {
        "class": "org.apache.spark.ml.recommendation.ALSModel", "timestamp": 0, "sparkVersion": spark.version,
        "uid": "ALSModel_given", "paramMap": {"userCol": "user", "itemCol": "item", "predictionCol": "prediction"},
        "defaultParamMap": {"coldStartStrategy": "nan", "blockSize": 4096}, "rank": vectors["users"].shape[1],
    }  # fmt: skip
    (saved / "metadata").mkdir()
    (saved / "metadata" / "part-00000").write_text(json.dumps(metadata) + "\n", encoding="utf-8")
    model = ALSModel.load(str(saved))
    started = time.perf_counter()
    model.recommendForAllUsers(100).write.format("noop").mode("overwrite").save()
    seconds = time.perf_counter() - started
    spark.stop()
print(json.dumps({"seconds": seconds}))
