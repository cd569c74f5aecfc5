"""What a stage asks of Spark, once, on nothing: ``setup.sh`` has Java keep the classes that this loads in an archive.

Run by spark-submit. Java then maps the archive instead of reading, checking and linking some 10,000 classes at every start.
"""

import tempfile
from pathlib import Path

from pyspark.sql import SparkSession, functions

spark = SparkSession.builder.getOrCreate()
with tempfile.TemporaryDirectory() as directory:
    text = Path(directory, "lines.json")
    text.write_text('{"user": "a", "product": "b", "rating": 5.0}\n' * 100)
    lines = spark.read.text(str(text)).repartition(2)
    parsed = functions.from_json("value", "user string, product string, rating double").alias("r")
    rows = lines.select(parsed).select("r.*").withColumn("day", functions.current_date())
    rows.write.partitionBy("product").parquet(f"{directory}/table")
    table = spark.read.parquet(f"{directory}/table").persist()
    counted = table.groupBy("user").agg(functions.count("*").alias("n"), functions.max("rating").alias("best"))
    joined = table.join(counted, "user").dropDuplicates(["user", "product"]).orderBy("user")
    ranked = joined.selectExpr("*", "row_number() over (partition by user order by rating) as place")
    ranked.mapInArrow(lambda batches: batches, ranked.schema).collect()
    spark.createDataFrame(table.toPandas()).count()
    spark.sparkContext.parallelize(range(2), 2).mapPartitions(lambda numbers: numbers).collect()
    table.unpersist()
spark.stop()
