"""Cornac's VBPR with 20 + 100 factors: PAIRS.npz FEATURES.npy EPOCHS SEED shipped|repaired [VECTORS.npz [LAMBDA]].

Its x_uij adds ``feat_diff.mm(Bp)`` [b, 1] to terms [b], which makes [b, b] of them: each triple's visual bias goes with
every other triple's rest, and the likelihood outweighs the regularisation a hundredfold. ``repaired`` drops that axis.
"""

import inspect
import json
import resource
import statistics
import sys
import textwrap
import time
from collections import OrderedDict

import numpy as np
from cornac.data import Dataset, ImageModality
from cornac.models import VBPR
from cornac.models.vbpr import recom_vbpr


class Timed(Dataset):
    """Remembers the seconds of every epoch, of the clock and of all cores' work."""

    def uij_iter(self, *arguments, **options):
        """The triples of one epoch."""
        started = time.perf_counter(), time.process_time()
        yield from super().uij_iter(*arguments, **options)
        took = time.perf_counter() - started[0], time.process_time() - started[1]
        self.epochs = [*getattr(self, "epochs", []), took]


def repair():
    """Compile VBPR's training anew without the stray axis."""
    source = textwrap.dedent(inspect.getsource(VBPR._fit_torch))
    wrong = "feat_diff.mm(Bp)"
    assert source.count(wrong) == 1, "another Cornac: look whether it is still wrong"
    exec(source.replace(wrong, wrong + "[:, 0]"), vars(recom_vbpr))  # noqa: S102, Cornac's own source
    VBPR._fit_torch = recom_vbpr._fit_torch


path, features, epochs, seed, how = sys.argv[1:6]
pairs = np.load(path)
if how == "repaired":
    repair()
triples = [(u, p, 1.0) for u, p in zip(pairs["user"].tolist(), pairs["product"].tolist(), strict=True)]
users, warm = (OrderedDict((n, n) for n in range(int(pairs[name]))) for name in ("users", "warm"))
train = Timed.build(triples, global_uid_map=users, global_iid_map=warm, seed=int(seed))
features = np.load(features, mmap_mode="r")
warm.update((n, n) for n in range(len(warm), len(features)))  # cold products have scores, but are never a negative
train.add_modalities(item_image=ImageModality(features=features))
strength = {name: float(sys.argv[7]) for name in ("lambda_w", "lambda_b") if len(sys.argv) > 7}
model = VBPR(k=20, k2=100, n_epochs=int(epochs), batch_size=100, seed=int(seed), verbose=False, **strength)
model.fit(train)
if len(sys.argv) > 6:
    np.savez(sys.argv[6], user=model.get_user_vectors(), product=model.get_item_vectors())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
seconds, cpu = (statistics.median(column) for column in zip(*train.epochs, strict=True))
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))
