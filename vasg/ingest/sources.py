"""Outside files: finding them, and saying where one is damaged."""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from vasg.errors import ConfigurationError, DataError, InputMissing, first_line
from vasg.spark.paths import address, plain

_CHUNK = 1 << 16
_PARQUET_READER = (
    r"\tat org\.apache\.(parquet\.(column|format|hadoop\.\w*Read)|spark\.\S+\.parquet\.\w*(Reader|Dictionary))"
)
_UNREADABLE = r"Encountered error while reading file (.+?)\.\s"
_OTHER_TYPE = r"Parquet column \[(.*?)\]\. Expected Spark type (.+?), actual Parquet type (\w+)"
_TWINS = r"Found duplicate field\(s\) .*?: \[(.*?)\]"
_PACKED = {  # how files begin, and the ending of the names by which Spark knows them
    "gzip": (rb"\x1f\x8b", ".gz"), "bzip2": (rb"BZh\d1A", ".bz2"), "zip": (rb"PK\x03\x04", ""), "xz": (rb"\xfd7zXZ\x00", ""),
    "lz4": (rb"\x04\x22\x4d\x18", ""), "zstd": (rb"\x28\xb5\x2f\xfd", ""),
}  # fmt: skip
SKIPPED = "files, and folders in a folder, whose names begin with _ or . are skipped"


def opened(read: Callable[[str], DataFrame], path: str, setting: str) -> tuple[DataFrame, list[str]]:
    """``read(path)`` and the URIs of the files it reads; ``path`` is a file, a folder or a glob pattern.

    Raises ConfigurationError when the ``setting`` is empty, InputMissing when no file matches, DataError for a damaged one.
    """
    if not path:
        raise ConfigurationError(f"{setting} is not set; name a file, a folder or a pattern")
    try:
        with reading([path]):
            frame = read(address(path))
    except AnalysisException as error:
        if "PATH_NOT_FOUND" in str(error):
            raise InputMissing(f"{setting}: no file matches {path}") from None
        if "UNABLE_TO_INFER_SCHEMA" in str(error):
            raise InputMissing(f"{setting}: no file matches {path}; {SKIPPED}") from None
        if "COLUMN_ALREADY_EXISTS" in str(error):
            raise DataError(
                f"{setting}: {path}: names of columns differ at most in case: {_alike(path, str(error))}; rename all but "
                "one, or leave them out"
            ) from None
        if "[PARQUET_TYPE_" in str(error):
            raise DataError(
                f"{setting}: {path}: {first_line(error)}; write the column in a type that Spark has, times in "
                'microseconds (pandas: to_parquet(..., coerce_timestamps="us", allow_truncated_timestamps=True))'
            ) from None
        raise
    files = frame.inputFiles()
    if not files:
        raise InputMissing(f"{setting}: no file matches {path}; {SKIPPED}")
    return frame, files


def _alike(path: str, text: str) -> str:
    """The names that Spark, to which case does not matter, takes for one; its own ``text`` has them in small letters."""
    found = re.search("`(.*?)`", text)
    name = found[1] if found else ""
    exact = SparkSession.active().newSession()
    exact.conf.set("spark.sql.caseSensitive", "true")
    try:
        names = exact.read.parquet(address(path), recursiveFileLookup=True).columns
    except AnalysisException:  # the same letter for letter
        names = []
    return ", ".join(other for other in names if other.lower() == name) or name  # one inside a struct is in no list


@contextmanager
def reading(files: Sequence[str]) -> Iterator[None]:
    """Turns Spark's failure to decode one of ``files`` into a DataError; gzip's says at which byte the file is damaged."""
    try:
        yield
    except Exception as error:
        named = {plain(uri) for uri in re.findall(r"file:/[^\s,\]]*\.gz", str(error))}
        for path in sorted(named & set(map(plain, files))):
            damage = Path(path).is_file() and gzip_damage(Path(path))
            if damage:
                raise DataError(f"{path} is damaged {damage}; fetch the file again") from None
        if re.search(_PARQUET_READER, str(error)):
            raise DataError(_parquet_fault(str(error), files)) from error
        raise


def _parquet_fault(text: str, files: Sequence[str]) -> str:
    """Which of ``files`` cannot be read, and why, from Spark's own ``text``."""
    others = f" or one of {len(files) - 1} others" if len(files) > 1 else ""
    found = re.search(_UNREADABLE, text)
    name = plain(found[1]) if found else plain(min(files)) + others
    differs = re.search(_OTHER_TYPE, text)
    if differs:
        column, expected, actual = differs.groups()
        return f"{name}: column types differ: {column} is {actual}, elsewhere {expected}; give it one type in all files"
    twins = re.search(_TWINS, text)
    if twins:
        return f"{name}: names of columns differ at most in case: {twins[1]}; rename all but one, or leave them out"
    return f"{name} cannot be read as Parquet: damaged, or something else; fetch the file again"


def refuse_packed(files: Sequence[str]) -> None:
    """Raise DataError for a file that is packed in a way that its name does not tell Spark, or that Spark does not know."""
    for path in map(plain, files):
        if not Path(path).is_file():  # behind a URL
            continue
        with open(path, "rb") as file:
            begin = file.read(6)
        for how, (mark, suffix) in _PACKED.items():
            if re.match(mark, begin) and not (suffix and path.lower().endswith(suffix)):
                advice = f"name it *{suffix}" if suffix else "unpack it, or pack it with gzip"
                raise DataError(f"{path} is packed by {how}; {advice}")


def gzip_damage(path: Path) -> str:
    """Where and how a gzip file is damaged, "" when it is whole. Reads it once, in bounded memory."""
    size, offset = path.stat().st_size, 0
    member = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            while chunk:
                before = member.copy()
                try:
                    member.decompress(chunk)
                except zlib.error as error:
                    return f"at byte {offset + _good_bytes(before, chunk):,} of {size:,} ({error})"
                rest = member.unused_data
                offset, chunk = offset + len(chunk) - len(rest), rest
                if member.eof and (chunk or offset < size):
                    member = zlib.decompressobj(wbits=31)  # gzip files may be concatenated
    return "" if member.eof else f"at byte {size:,}: it ends inside the compressed data (truncated)"


def _good_bytes(member: "zlib._Decompress", chunk: bytes) -> int:
    """How many bytes of ``chunk`` are decompressed before the error."""
    for i in range(len(chunk)):
        try:
            member.decompress(chunk[i : i + 1])
        except zlib.error:
            return i
    return len(chunk)
