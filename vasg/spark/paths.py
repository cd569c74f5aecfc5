"""Paths as Spark takes them.

One without a scheme would be of Hadoop's default file system, which a cluster's own configuration may have set to HDFS;
ours are files, the same on all hosts. And what is to be read is a pattern, in which a folder ``run[1]`` matches ``run1``.
"""

import re
from pathlib import Path
from urllib.parse import unquote


def address(path: str | Path) -> str:
    """The address of a local path or pattern; of one that is an address already, itself."""
    text = str(path)
    return text if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) else f"file://{text}"


def literal(path: str | Path) -> str:
    """A pattern that matches this path alone."""
    return address(re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path)))


def without_scheme(path: str) -> str:
    """A path in which nothing is encoded, without the ``file:/``, ``file:///`` or ``file://host/`` of a local one."""
    return re.sub("^file:(//[^/]*)?/+", "/", path)


def plain(uri: str) -> str:
    """A local file's URI as a path; other URIs as they are."""
    return without_scheme(unquote(uri)) if uri.startswith("file:") else uri
