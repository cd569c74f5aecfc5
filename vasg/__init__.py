"""Visually Aware Skip-Gram (VASG) on Spark, Horovod and Petastorm: purchases and pictures in, recommendation tables out."""

from vasg import installed_pyspark, kernels

__version__ = "0.1.0"

installed_pyspark.use()
kernels.use()
