"""What a sweep runs: the base configuration and, one key at a time, others around it, each with every seed."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vasg.config import Config
from vasg.config_file import load
from vasg.errors import ConfigurationError, UsageError
from vasg.pipeline.stages import run_date, stages


@dataclass(frozen=True, eq=False)
class Run:
    """One ``vasg run``: a configuration in a warehouse of its own, which starts with what ``parent`` has in common."""

    name: str  # point/seed=N, the directory below runs/
    root: Path
    config: Config
    parent: "Run | None"

    @property
    def config_file(self) -> Path:
        """The effective configuration, beside the warehouse."""
        return self.root.with_name(f"{self.root.name}.toml")

    @property
    def log(self) -> Path:
        """What ``vasg run`` printed, beside the warehouse."""
        return self.root.with_name(f"{self.root.name}.log")


@dataclass(frozen=True)
class Point:
    """One value of a key; ``runs`` has one run a seed, those of the base configuration where the value is its own."""

    value: Any
    runs: tuple[Run, ...]
    is_base: bool

    @property
    def label(self) -> str:
        """The value as the configuration file has it, without quotes."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return str(list(self.value) if isinstance(self.value, tuple) else self.value)


@dataclass(frozen=True)
class Plan:
    """All runs, parents first; those of the base configuration, one a seed; and for each varied key its points.

    Points are ascending if they are numbers, otherwise as given.
    """

    runs: list[Run]
    base: tuple[Run, ...]
    curves: dict[str, list[Point]]


def make_plan(
    config_path: str, root: Path, overrides: Sequence[str], vary: Sequence[str], seeds: Sequence[int]
) -> Plan:
    """Load every configuration of ``vary`` (``section.key=value,value``), so that what is wrong is found before a run.

    Raises UsageError for a ``vary`` that cannot be read and ConfigurationError, naming the key, for a configuration.
    Configurations that are equal share a run. The runs of other seeds start from the base run of the first seed (stages
    that draw nothing are the same), all others from the base run of their seed.
    Quality gates are off: lists that are worse than the last ones are what a sweep is there to measure.
    """
    values = _values(vary)
    day = _day(load(config_path, overrides), root / "runs" / "base")
    runs: dict[Config, Run] = {}

    def run(name: str, seed: int, parent: Run | None, *changes: str) -> Run:
        config = load(config_path, [*overrides, f"run_date={day}", f"seed={seed}", "gates.enabled=false", *changes])
        _check_measurable(config)
        name = f"{quote(name, safe='=,[]')}/seed={seed}"
        return runs.setdefault(config, Run(name, root / "runs" / name, config, parent))

    first = run("base", seeds[0], None)
    base = (first, *(run("base", seed, first) for seed in seeds[1:]))
    curves = {}
    for key, texts in values.items():
        found = [tuple(run(f"{key}={text}", b.config.seed, b, f"{key}={text}") for b in base) for text in texts]
        points = [
            Point(_value(of_seeds[0].config, key), of_seeds, of_seeds == base)
            for of_seeds in dict.fromkeys([base, *found])
        ]
        curves[key] = sorted(points, key=lambda point: point.value if is_number(point.value) else 0)
    return Plan(list(runs.values()), base, curves)


def is_number(value: Any) -> bool:
    """Whether the values of a key stand on an axis of numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(config: Config, key: str) -> Any:
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


def _values(vary: Sequence[str]) -> dict[str, list[str]]:
    """The texts of the values of each key; commas inside of brackets belong to a value."""
    found: dict[str, list[str]] = {}
    for option in vary:
        key, _, text = option.partition("=")
        texts = [part.strip() for part in re.split(r",(?![^\[]*\])", text)]
        if not key or not all(texts):
            raise UsageError(f"--vary {option}: write --vary section.key=value,value")
        if key in ("seed", "run_date"):
            raise UsageError(f"--vary {option}: seeds are given with --seeds, and the date decides no result")
        if key in found:
            raise UsageError(f"--vary {key} is given twice; list its values in one option")
        found[key] = texts
    return found


def _day(config: Config, base: Path) -> str:
    """The run date of all runs: a sweep that goes on tomorrow does not score again what it scored today."""
    earlier = sorted(base.glob("seed=*.toml"))
    if earlier and not config.run_date:
        return str(tomllib.loads(earlier[0].read_text(encoding="utf-8"))["run_date"])
    return run_date(config)


def _check_measurable(config: Config) -> None:
    if config.split.method == "none" or "score" not in [stage.name for stage in stages(config)]:
        raise ConfigurationError(
            "a sweep compares runs on test pairs: set features.source, and split.method to another value than none"
        )
