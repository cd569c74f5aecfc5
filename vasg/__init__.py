"""Visually Aware Skip-Gram (VASG) on Spark, Horovod and Petastorm: purchases and pictures in, recommendation tables out."""

from vasg.machine import kernel_cache
from vasg.spark import installed_pyspark

__version__ = "0.1.0"

installed_pyspark.use()
kernel_cache.use()
