"""Visually Aware Skip-Gram (VASG) on Spark, Horovod and Petastorm: purchases and pictures in, recommendation tables out."""

__version__ = "0.1.0"
