"""``python -m vasg.demo --out DIR``: write a demo shop."""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vasg.command_line import Parser, complain
from vasg.demo.amazon_files import CONFIG, write
from vasg.demo.planted import MIN_PRODUCTS, Nature
from vasg.errors import OutputError, UsageError


@dataclass(frozen=True)
class Size:
    """How large a shop is; ``ratings`` counts distinct pairs, ``dim`` is I."""

    users: int
    products: int
    ratings: int
    dim: int


SIZES = {"small": Size(2_000, 3_000, 40_000, 512), "women": Size(14_110, 116_971, 307_863, 4_096)}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
        size = _size(arguments)
        try:
            nature = Nature(arguments.taste, arguments.popularity, arguments.blur)
            write(Path(arguments.out), arguments.seed, size.users, size.products, size.ratings, size.dim, nature)
        except OSError as error:
            raise OutputError(f"{arguments.out} cannot be written: {error.strerror}") from None
    except Exception as error:
        return complain("vasg.demo", error)
    print(
        f"{arguments.out}: {size.users:,} users, {size.products:,} products, {size.ratings:,} ratings, I = {size.dim:,}; "
        f"next: vasg run --config {Path(arguments.out) / CONFIG} --root DIR"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("python -m vasg.demo", description="Write a demo shop in Amazon's raw formats of 2014.")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="where the other options are not given")
    parser.add_argument("--users", type=int, metavar="N")
    parser.add_argument("--products", type=int, metavar="N")
    parser.add_argument("--ratings", type=int, metavar="N", help="distinct (user, product) pairs")
    parser.add_argument("--dim", type=int, metavar="I", help="length of an image feature")
    for name, what in (
        ("taste", "how much a user's taste decides"),
        ("popularity", "how steeply popularity falls; 0: flat"),
        ("blur", "how little a picture shows of its product's style; 10: next to nothing"),
    ):
        default = getattr(Nature, name)
        parser.add_argument(f"--{name}", type=float, default=default, metavar="X", help=f"{what} (default {default})")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _size(arguments: argparse.Namespace) -> Size:
    """The size asked for. Raises UsageError when no such shop can exist."""
    default = SIZES[arguments.size]
    given = {name: getattr(arguments, name) for name in ("users", "products", "ratings", "dim")}
    size = Size(**{name: getattr(default, name) if value is None else value for name, value in given.items()})
    if size.users < 1 or size.dim < 1 or arguments.seed < 0:
        raise UsageError("--users and --dim must be 1 or more, --seed 0 or more")
    if not all(0 <= value < math.inf for value in (arguments.taste, arguments.popularity, arguments.blur)):
        raise UsageError("--taste, --popularity and --blur must be numbers from 0")
    if size.products < 2 * MIN_PRODUCTS:
        raise UsageError(f"--products must be {2 * MIN_PRODUCTS} or more")
    if not MIN_PRODUCTS * size.users <= size.ratings <= size.users * size.products // 4:
        raise UsageError(
            f"--ratings {size.ratings} must lie between {MIN_PRODUCTS} a user ({MIN_PRODUCTS * size.users}) "
            f"and a quarter of all pairs ({size.users * size.products // 4})"
        )
    return size


if __name__ == "__main__":
    sys.exit(main())
