"""The best reachable scores of a demo shop, as vectors like those of any model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vasg.demo.planted import Floats
from vasg.errors import DataError, InputMissing


def oracle_vectors(path: str | Path, user_ids: Sequence[str], product_ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Vectors of the given users [U, T+1] and products [P, T+1], in their order, from a demo shop's ``oracle.npz``.

    Their inner product is the log of the propensity that the purchases were drawn with, up to a constant of the user.
    Raises InputMissing without the file and DataError for an id that the shop does not have.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputMissing(f"{path} does not exist; python -m vasg.demo writes it beside the demo data") from None
    with archive:
        users = archive["users"][_rows(archive["user_ids"], user_ids, "user", path)]
        return users, archive["products"][_rows(archive["product_ids"], product_ids, "product", path)]


def _rows(known: NDArray[np.str_], wanted: Sequence[str], kind: str, path: str | Path) -> NDArray[np.int64]:
    row = {identifier: index for index, identifier in enumerate(known.tolist())}
    try:
        return np.fromiter((row[identifier] for identifier in wanted), np.int64, len(wanted))
    except KeyError as error:
        raise DataError(
            f"{path} has no {kind} {error.args[0]}; score the oracle on the shop it was written with"
        ) from None
