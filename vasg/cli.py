"""The ``vasg`` command."""

import argparse
import sys
from collections.abc import Sequence

from vasg import __version__
from vasg.command_line import Parser, add_arguments, complain, new_run_id


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    verbose = None
    try:
        arguments = _parser().parse_args(argv)
        verbose = getattr(arguments, "verbose", None)
        return int(arguments.call(arguments))
    except Exception as error:
        return complain("vasg", error, verbose)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "vasg", description="Visually Aware Skip-Gram recommendations: purchases and pictures in, tables out."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    at_root = Parser(add_help=False)
    at_root.add_argument("--root", required=True, metavar="DIR", help="the warehouse")

    run = commands.add_parser("run", help="run the stages in order, each through spark-submit; skip what is up to date")
    add_arguments(run)
    run.add_argument("--from", dest="first", metavar="STAGE", help="start here, even if the stage is up to date")
    run.add_argument("--to", dest="last", metavar="STAGE", help="stop after this stage")
    run.add_argument("--properties-file", metavar="FILE", help="Spark settings (default: spark_conf/local.conf)")
    run.set_defaults(call=_run)

    sweep = commands.add_parser("sweep", help="run configurations side by side and draw quality over what varies")
    add_arguments(sweep)
    sweep.add_argument(
        "--vary", action="append", default=[], metavar="SECTION.KEY=VALUE,VALUE", help="a curve; may be repeated"
    )
    sweep.add_argument("--seeds", default="0,1,2", metavar="N,N", help="each point runs with each (default: 0,1,2)")
    sweep.add_argument("--jobs", type=_positive, default=1, metavar="N", help="runs at a time (default: 1)")
    sweep.add_argument("--properties-file", metavar="FILE", help="Spark settings, as of vasg run")
    sweep.set_defaults(call=_sweep)

    path = commands.add_parser("path", parents=[at_root], help="print the directory of a table's current version")
    path.add_argument("table", metavar="TABLE")
    path.set_defaults(call=_path)

    report = commands.add_parser(
        "report", parents=[at_root], help="write one self-contained HTML page about what is published"
    )
    report.add_argument("--out", metavar="FILE", help="default: DIR/reports/RUN_ID.html")
    report.set_defaults(call=_report)

    chosen = commands.add_parser(
        "choices", parents=[at_root], help="print what an evaluation chose, as sections for the nightly configuration"
    )
    chosen.set_defaults(call=_choices)

    log = commands.add_parser(
        "history", parents=[at_root], help="list the catalogs that are kept: when, by what, which tables changed"
    )
    log.set_defaults(call=_history)

    back = commands.add_parser(
        "rollback", parents=[at_root], help="publish earlier versions again (default: take back the last publication)"
    )
    which = back.add_mutually_exclusive_group()
    which.add_argument("tables", nargs="*", default=[], metavar="TABLE", help="with all that its stage wrote with it")
    which.add_argument("--to", type=int, metavar="SEQUENCE", help="everything as in this catalog of vasg history")
    back.set_defaults(call=_rollback)

    clean = commands.add_parser(
        "gc", parents=[at_root], help="remove table versions, runs and checkpoints that no kept catalog needs"
    )
    clean.add_argument(
        "--keep",
        type=_positive,
        default=30,
        metavar="N",
        help="catalogs to keep, of which a run publishes one a stage (default: %(default)s)",
    )
    clean.set_defaults(call=_gc)

    doctor = commands.add_parser("doctor", help="check Java, Python, Spark, Horovod, Petastorm and GPU")
    doctor.set_defaults(call=_doctor)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from vasg.pipeline.runner import run

    return run(
        arguments.config, arguments.root, arguments.first, arguments.last, arguments.set, arguments.properties_file,
        arguments.verbose,
    )  # fmt: skip


def _sweep(arguments: argparse.Namespace) -> int:
    from vasg.sweep.command import sweep

    return sweep(
        arguments.config, arguments.root, arguments.vary, arguments.seeds, arguments.jobs, arguments.set,
        arguments.properties_file, arguments.verbose,
    )  # fmt: skip


def _path(arguments: argparse.Namespace) -> int:
    from vasg.warehouse.tables import Warehouse

    print(Warehouse(arguments.root).path(arguments.table))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from vasg.report.command import report

    print(report(arguments.root, arguments.out))
    return 0


def _choices(arguments: argparse.Namespace) -> int:
    from vasg.choices import choices

    print(choices(arguments.root), end="")
    return 0


def _history(arguments: argparse.Namespace) -> int:
    from vasg.warehouse.upkeep import history

    print(*history(arguments.root), sep="\n")
    return 0


def _rollback(arguments: argparse.Namespace) -> int:
    from vasg.warehouse.tables import Warehouse
    from vasg.warehouse.upkeep import rollback

    changed = rollback(arguments.root, new_run_id("rollback"), arguments.tables, arguments.to)
    print(f"rolled back: {', '.join(changed)}" if changed else "nothing to roll back: these versions are current")
    warehouse = Warehouse(arguments.root)
    gone = [table for table in changed if not warehouse.has(table)]
    if gone:
        print(f"there was none before of: {', '.join(gone)}; vasg rollback --to N goes to a catalog of vasg history")
    return 0


def _gc(arguments: argparse.Namespace) -> int:
    from vasg.warehouse.upkeep import gc

    removed = gc(arguments.root, new_run_id("gc"), arguments.keep)
    print(
        f"removed {removed.versions} table versions ({removed.bytes / 2**20:,.1f} MiB), {removed.catalogs} catalogs, "
        f"{removed.checkpoints} checkpoints, {removed.runs} runs"
    )
    return 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 (found {text})")
    return int(text)


def _doctor(arguments: argparse.Namespace) -> int:
    from vasg.doctor import doctor

    return doctor()


if __name__ == "__main__":
    sys.exit(main())
