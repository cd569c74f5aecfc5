"""Files and texts made by an enemy: nothing in them runs, steers the terminal, or takes memory without bound."""

import ast
import pickle
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from petastorm import make_batch_reader
from test_features_encoders import noise, saved
from training_shop import config, plan

from vasg.cli import main
from vasg.command_line import complain
from vasg.errors import DataError
from vasg.features.pictures import PictureError, decode
from vasg.schemas import TABLES
from vasg.training import checkpoint
from vasg.training.walk_reader import batches
from vasg.training.workers import Workers

pytestmark = pytest.mark.fault
ROOT = Path(__file__).resolve().parents[1]


class Program:
    """What creates ``mark`` when it is unpickled, with nothing but a builtin."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def test_a_hostile_common_metadata_beside_the_walks_does_not_run(tmp_path: Path) -> None:
    folder, mark = tmp_path / "walks", tmp_path / "it ran"
    folder.mkdir()
    groups = plan(folder, config()).groups
    metadata = {b"dataset-toolkit.unischema.v1": pickle.dumps(Program(mark))}
    hostile = pq.read_schema(groups[0].files[0]).with_metadata(metadata)
    pq.write_metadata(hostile, folder / "_common_metadata")
    assert len(list(batches(groups, 0, 1, seed=5, epoch=0))) == 10
    assert not mark.exists()
    # The file is a real one: given the folder instead of the files, Petastorm runs it.
    for other in [path for path in folder.iterdir() if path.suffix != ".parquet" and path.name != "_common_metadata"]:
        other.rename(tmp_path / other.name)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'fields'"):
        make_batch_reader(f"file://{folder}")
    assert mark.exists()


@pytest.mark.parametrize("name", ["share-0.pt", "common.pt"])
@pytest.mark.parametrize("content", [pickle.dumps, lambda program: saved_by_torch({"x": program}), lambda _: b"half"])
def test_a_checkpoint_that_is_more_than_data_is_refused_and_does_not_run(
    tmp_path: Path, name: str, content: object
) -> None:
    assert callable(content)
    checkpoint.save(tmp_path, 7, {"x": torch.ones(2)}, {"done": 7}, Workers(1))
    mark = tmp_path / "it ran"
    (tmp_path / "step-0000000007" / name).write_bytes(content(Program(mark)))
    with pytest.raises(DataError, match=r"checkpoint .*step-0000000007 cannot be read .*; remove it"):
        checkpoint.load(tmp_path, Workers(1), torch.device("cpu"))
    assert not mark.exists()


def saved_by_torch(content: object) -> bytes:
    file = BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_what_loads_arrays_and_weights_loads_data_only() -> None:
    """Ruff's rules (S301 and its kin, in pyproject.toml) watch over pickle, eval and shells; they do not know these."""
    loads = 0
    for path in (ROOT / "vasg").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                name, options = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
                where = f"{path}:{call.lineno}"
                assert name != "torch.load" or options.get("weights_only") == "True", where
                assert options.get("allow_pickle", "False") == "False", where
                assert options.get("trust_remote_code", "False") == "False", where
                loads += name == "torch.load"
    assert loads >= 3


def deflated(size: int) -> bytes:
    """So many zeros, compressed, without ever holding them."""
    packer, block = zlib.compressobj(), bytes(1 << 20)
    return b"".join([packer.compress(block) for _ in range(size >> 20)] + [packer.flush()])


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A grey PNG of these chunks (type and content)."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    whole = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, *chunks, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def webp(side: int) -> bytes:
    """An animation whose canvas is large and whose only frame is small."""
    frame, size = saved(noise(8, 8), "WEBP")[12:], (side - 1).to_bytes(3, "little") * 2
    frame = bytes(6) + b"\7\0\0" * 2 + bytes(4) + frame
    chunks = [(b"VP8X", b"\2\0\0\0" + size), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def patched(kind: str, at: int, size: bytes) -> bytes:
    content = saved(noise(8, 8), kind)
    return content[:at] + size + content[at + len(size) :]


ROW = b"IDAT" + zlib.compress(bytes(9 * 8))  # of 8 x 8 pixels
BOMBS = {
    "all pixels are there": png(30_000, 30_000, b"IDAT" + deflated(900_000_000)),
    "a promise of 49 million": png(7_000, 7_000, ROW),
    "text": png(8, 8, b"zTXtComment\0\0" + deflated(300 << 20), ROW),
    "colour profile": png(8, 8, b"iCCPicc\0\0" + deflated(300 << 20), ROW),
    "webp": webp(16_000),
    "gif": patched("GIF", 6, b"\xff\xff" * 2),
    "bmp": patched("BMP", 18, (60_000).to_bytes(4, "little") * 2),
    "jpeg": patched("JPEG", saved(noise(8, 8), "JPEG").index(b"\xff\xc0") + 5, b"\xff\xff" * 2),
}


def status(field: str) -> int:
    """KiB of this process in /proc."""
    return int(re.search(rf"^{field}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])  # type: ignore[index]


@pytest.mark.parametrize("name", BOMBS)
def test_pictures_that_unpack_to_gigabytes_are_refused_in_bounded_memory(name: str) -> None:
    decode(saved(noise(8, 8), "PNG"), 10**6)  # what Pillow loads once
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status("VmHWM")
    with pytest.raises(PictureError):
        decode(BOMBS[name], 50_000_000)
    assert status("VmHWM") - before < 300_000


def test_other_peoples_text_in_a_message_stays_on_its_line_and_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert complain("vasg", DataError("bad id \x1b[2J\r\nvasg: all is well\u202e\ud800 é"), verbose=False) == 65
    assert capsys.readouterr().err == "vasg: bad id \\x1b[2J\\r\\nvasg: all is well\\u202e\\ud800 é\n"


def test_no_column_that_holds_ids_names_a_directory() -> None:
    assert {column.name for table in TABLES.values() for column in table.partitions} == {"run_date", "start_type"}


@pytest.mark.parametrize("table", ["../../etc", "/etc/passwd", "reviews/../../x", "", ".", "reviews\0"])
@pytest.mark.parametrize("command", ["path", "rollback"])
def test_only_names_of_tables_lead_to_directories(
    command: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "catalog").mkdir()
    assert main([command, "--root", str(tmp_path), table]) == 66
    assert capsys.readouterr().out == ""
