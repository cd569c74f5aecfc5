"""Stage ``train``: Skip-Gram with an image decoder over random walks, then the mapping M (paper, section 3.2)."""

import os

# torch asks for huge pages then: random rows of a large table and fresh buffers cost a page fault or a walk through the
# page tables for each 4 KiB otherwise. It looks once, before its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
# Threads that wait for each other sleep: where they spin instead, a second job on the machine slows this one down to a third
# of what it would be. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
