"""Stage ``train``: Skip-Gram with an image decoder over random walks, then the mapping M (paper, section 3.2)."""
