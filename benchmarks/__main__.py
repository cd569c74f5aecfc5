"""``python -m benchmarks [--size women] [--rounds 3] [STAGE ...]``: time stages beside their peers, write results.json."""

import argparse

from benchmarks import (
    decoder,
    features,
    ingest,
    measure,
    paper,
    petastorm,
    pipeline,
    scoring,
    skipgram,
    training,
    vbpr,
    walks,
)
from benchmarks.data import SIZES, shop

STAGES = {
    module.__name__.rpartition(".")[2]: module.run
    for module in (ingest, features, walks, petastorm, skipgram, decoder, scoring, vbpr, training, paper, pipeline)
}


def main() -> None:
    """Run the stages asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="women")
    parser.add_argument("--rounds", type=int, default=3, help="how often ours and theirs run, in turn")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.stages) - set(STAGES))
    if unknown:
        parser.error(f"unknown stage {unknown[0]}; stages are {', '.join(STAGES)}")
    print(f"bench: {measure.machine()}", flush=True)
    for name in arguments.stages or STAGES:
        measure.save(STAGES[name](shop(arguments.size), arguments.rounds))


if __name__ == "__main__":
    main()
