"""Random sequences of runs, crashes at every commit edge, concurrent runs, takeovers, rollbacks and gc, against a model.

The model knows, for every catalog number, which publication of each stage it names, and what that publication says.
Everything else is real: the code around a job, the lock, the warehouse, processes that are killed or stopped.
"""

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fault_server import Server, read
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vasg.failpoints import POINTS
from vasg.warehouse.lock import STALE_SECONDS
from vasg.warehouse.publication import STAGED
from vasg.warehouse.tables import Warehouse

SEQUENCES = int(os.environ.get("VASG_FAULT_SEQUENCES", "20"))
WRITES = {
    "preprocess_reviews": ("reviews", "rejects", "image_features"),
    "filter_users": ("nodes", "interactions"),
}
FIRST, SECOND = WRITES
AFTER_COMMIT = {"committed", "marker-removed", "lock-released"}
MEMORY = (
    "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
)  # thousands of fsyncs; a killed process loses nothing here
STAGE = st.sampled_from(list(WRITES))
POINT = st.sampled_from([name for name in POINTS if not name.startswith("checkpoint")])
PASSAGE = st.integers(1, 4)
KILLED = -signal.SIGKILL
CODES = {"kill": KILLED, "term": 128 + signal.SIGTERM, "error": 70}

State = dict[str, int]  # the publication of each stage that is current


class Sequences(RuleBasedStateMachine):
    """See above."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="vasg-sequences-", dir=MEMORY))
        self.root, self.raw, self.config = (self.folder / name for name in ("root", "raw", "config.toml"))
        self.config.write_text("[reviews]\npath = 'raw'\n[features]\nsource = 'feature_file'\npath = 'raw'\n")
        self.says: dict[int, str] = {}  # what each publication says
        self.state: State = {}
        self.history: dict[int, State] = {}
        self.changes = 0
        self.change_the_raw_data()

    # ---- the model ----

    def due(self, stage: str) -> State | None:
        """The state after the stage has run to its end; None where it lacks its input."""
        if stage == SECOND and FIRST not in self.state:
            return None
        value = self.raw.read_text() if stage == FIRST else self.says[self.state[FIRST]]
        if stage in self.state and self.says[self.state[stage]] == value:
            return self.state
        self.says[len(self.says)] = value
        return self.state | {stage: len(self.says) - 1}

    def became(self, state: State) -> None:
        """Take down that the state is this now; catalogs published on the way there only repeat what was before."""
        now = Warehouse(self.root).catalog()["sequence"]
        for sequence in range(max(self.history, default=0) + 1, now + 1):
            self.history[sequence] = self.state
        if state != self.state:
            assert now not in self.history or self.history[now] == self.state
            self.history[now] = state
        self.state = state

    def has_published(self, by: str, point: str) -> bool:
        """Whether ``by`` had published when it failed at this point; the name it took may be a lock's, or a fence's."""
        if point != "name-taken":
            return point in AFTER_COMMIT
        latest = Warehouse(self.root).catalog()
        return latest["sequence"] > max(self.history, default=0) and latest["published"]["by"] == by

    @invariant()
    def every_kept_catalog_is_whole_and_says_what_was_published_with_it(self) -> None:
        catalogs = Warehouse(self.root).catalogs.all()
        assert [catalog["sequence"] for catalog in catalogs] == sorted(self.history)
        values: dict[str, str] = {}  # of each version; most are named by several catalogs
        for catalog in catalogs:
            state, warehouse, found = self.history[catalog["sequence"]], Warehouse(self.root, catalog), {}
            for table, entry in catalog["tables"].items():
                found[table] = values.setdefault(entry["version"], "") or read(warehouse, table)
                values[entry["version"]] = found[table]
            assert found == {table: self.says[state[stage]] for stage in state for table in WRITES[stage]}
            assert set(catalog["stages"]) == set(state)

    def start(self, program: str, failpoint: str = "", **more: Any) -> int:
        return self.server.start(program, self.root, failpoint, config=str(self.config), **more)

    def call(self, program: str, failpoint: str = "", **more: Any) -> int | None:
        return self.server.wait(self.start(program, failpoint, **more))

    # ---- what can happen ----

    @rule()
    def change_the_raw_data(self) -> None:
        self.changes += 1
        self.raw.write_text(f"value {self.changes}")

    @rule(stage=STAGE)
    def run(self, stage: str) -> None:
        expected = self.due(stage)
        assert self.call(stage) == (66 if expected is None else 0)
        self.became(self.state if expected is None else expected)

    @rule(stage=STAGE, point=POINT, passage=PASSAGE, action=st.sampled_from(list(CODES)))
    def crash(self, stage: str, point: str, passage: int, action: str) -> None:
        expected = self.due(stage)
        code = self.call(stage, f"{point}:{action}@{passage}")
        if code in (0, 66):  # it did not come by there, or not so often
            assert code == (66 if expected is None else 0)
            self.became(self.state if expected is None else expected)
            return
        assert code == CODES[action]
        self.became(expected if expected is not None and self.has_published(stage, point) else self.state)

    @rule(stage=STAGE)
    def two_at_once(self, stage: str) -> None:
        expected = self.due(stage)
        codes = [self.server.wait(pid) for pid in [self.start(stage), self.start(stage)]]
        if expected is None:
            assert 66 in codes
            assert set(codes) <= {66, 75}
        else:
            assert 0 in codes
            assert set(codes) <= {0, 75}
        self.became(self.state if expected is None else expected)

    @rule(
        stage=STAGE,
        point=st.sampled_from(["lock-taken", "version-created", "manifest-written", "before-commit"]),
        successor=st.sampled_from(["the same stage", "gc"]),
    )
    def one_is_taken_for_dead_and_goes_on(self, stage: str, point: str, successor: str) -> None:
        if self.due(stage) in (None, self.state):
            return
        slow = self.start(stage, f"{point}:stop")
        assert self.server.wait(slow) is None
        self.became(self.state)
        lock = self.root / "lock"
        try:
            assert self.call(stage) == 75  # seen alive
            lock.write_text(json.dumps(json.loads(lock.read_text()) | {"host": "elsewhere"}))
            assert self.call(stage) == 75  # its heartbeat is fresh
            long_ago = lock.stat().st_mtime - STALE_SECONDS - 60
            os.utime(lock, (long_ago, long_ago))
            if successor == "gc" and self.history:
                self.gc(3, None)
            else:
                self.run(stage)
        finally:
            os.kill(slow, signal.SIGCONT)
        assert self.server.wait(slow) == 75
        self.became(self.state)

    @rule(crash=st.none() | st.tuples(POINT, PASSAGE))
    @precondition(lambda self: self.history)
    def rollback(self, crash: tuple[str, int] | None) -> None:
        history = [self.history[sequence] for sequence in sorted(self.history)]
        first = history.index(self.state)
        target = history[first - 1] if first else None
        code = self.call("rollback", f"{crash[0]}:kill@{crash[1]}" if crash else "")
        done = code == 0 or (code == KILLED and crash is not None and self.has_published("rollback", crash[0]))
        assert code in ((0 if target is not None else 66), KILLED if crash else 0)
        self.became(target if done and target is not None else self.state)

    @rule(keep=st.integers(1, 4), crash=st.none() | st.tuples(POINT, PASSAGE))
    @precondition(lambda self: self.history)
    def gc(self, keep: int, crash: tuple[str, int] | None) -> None:
        code = self.call("gc", f"{crash[0]}:kill@{crash[1]}" if crash else "", keep=keep)
        assert code in (0, KILLED if crash else 0)
        self.became(self.state)
        left = [catalog["sequence"] for catalog in Warehouse(self.root).catalogs.all()]
        known = sorted(self.history)
        changes = [i for i in range(len(known)) if i == 0 or self.history[known[i]] != self.history[known[i - 1]]]
        wanted = known[changes[-keep:][0] :]
        assert left == (wanted if code == 0 or (crash and crash[0] == "catalogs-removed") else known[-len(left) :])
        assert set(wanted) <= set(left)
        self.history = {sequence: self.history[sequence] for sequence in left}
        if code == 0:
            self.nothing_is_left_over()

    def nothing_is_left_over(self) -> None:
        warehouse = Warehouse(self.root)
        assert warehouse.versions() == warehouse.published()
        assert {path.name for path in self.root.iterdir()} <= {"catalog", "tables", "runs"}
        assert not [path for path in self.root.rglob("*") if path.name.startswith(".") or path.name == STAGED]

    def teardown(self) -> None:
        try:
            self.run(FIRST)
            self.run(SECOND)
            self.gc(1, None)
            self.every_kept_catalog_is_whole_and_says_what_was_published_with_it()
            undisturbed = self.folder / "undisturbed"
            for stage in WRITES:
                assert self.server.wait(self.server.start(stage, undisturbed, config=str(self.config))) == 0
            assert digests(self.root) == digests(undisturbed)
        finally:
            shutil.rmtree(self.folder)


def digests(root: Path) -> dict[str, str]:
    """The hash of each table's content."""
    return {name: entry["digest"] for name, entry in Warehouse(root).catalog()["tables"].items()}


@pytest.fixture(scope="module")
def server() -> Any:
    """One server for all sequences."""
    running = Server()
    yield running
    running.close()


class TestSequences(Sequences.TestCase):  # type: ignore[name-defined,misc]
    """Hypothesis prints the shortest failing sequence, and the line that repeats it."""

    settings = settings(
        max_examples=SEQUENCES, stateful_step_count=20, deadline=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    pytestmark: ClassVar = [pytest.mark.fault, pytest.mark.timeout(7200)]

    @pytest.fixture(autouse=True)
    def _served(self, server: Server) -> None:
        Sequences.server = server
