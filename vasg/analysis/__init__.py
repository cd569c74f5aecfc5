"""What the vectors know, beyond the metrics: the analyses of the paper's sections 4.3 and 5 on any finished run."""
