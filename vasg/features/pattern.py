"""Where the picture of a product is: a path pattern, read in both directions."""

import re
import string
from dataclasses import dataclass
from functools import cached_property
from glob import escape

from vasg.errors import ConfigurationError

_SETTING = "features.path"
_ROOT = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?")  # file:, s3a://bucket, hdfs://host:port
_ANY = "*"


@dataclass(frozen=True)
class PathPattern:
    """A pattern such as ``/data/images/{product_id:.3}/{product_id}.jpg``.

    ``{product_id}`` stands for the whole id and ``{product_id:.N}`` for its first N characters; ``*`` stands for any
    characters of one folder or file name. Ids have no ``/``. Raises ConfigurationError for anything else in braces, for
    other glob characters, and when the whole id is nowhere in the pattern.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise ConfigurationError(f"{_SETTING} is not set; write a pattern such as images/{{product_id}}.jpg")
        try:
            fields = [field for field in string.Formatter().parse(self.text) if field[1] is not None]
        except ValueError as error:
            raise ConfigurationError(f"{_SETTING}: {self.text}: {error}") from None
        for _, name, spec, conversion in fields:
            if name != "product_id" or conversion or not re.fullmatch(r"(\.[1-9]\d?)?", spec or ""):
                raise ConfigurationError(
                    f"{_SETTING}: {self.text}: only {{product_id}} and {{product_id:.N}}, its first N characters, may be "
                    "in braces"
                )
        if not any(spec == "" for _, _, spec, _ in fields):
            raise ConfigurationError(
                f"{_SETTING}: {self.text}: {{product_id}} is missing; it says which product a file is"
            )
        if any(re.search(r"[?\[\]{}\\]", literal) for literal, *_ in string.Formatter().parse(self.text)):
            raise ConfigurationError(f"{_SETTING}: {self.text}: of the glob characters only * may be used")

    @cached_property
    def glob(self) -> str:
        """The pattern with every {…} replaced by *."""
        return "".join(piece if isinstance(piece, str) else _ANY for piece in self._pieces(self.text))

    @property
    def folder(self) -> str:
        """The deepest folder that holds all pictures."""
        known = self.glob.partition(_ANY)[0]
        return known[: known.rfind("/") + 1] or "."

    @property
    def file_name(self) -> str:
        """Glob pattern of the last part of the path."""
        return self.glob.rpartition("/")[2]

    def fits_glob(self, path: str) -> bool:
        """Whether a path, with or without scheme and host, matches ``glob``."""
        return self._glob_expression.fullmatch(_local(path)) is not None

    def product_id(self, path: str) -> str | None:
        """The id whose path this is, or None. Put into a pattern without ``*``, it gives the path again."""
        for expression in self._expressions:
            found = expression.fullmatch(_local(path))
            if found:
                return found["id"]
        return None

    def glob_of(self, product_id: str) -> str:
        """Glob pattern of a product's pictures: of the id's own characters none is a wildcard."""
        pieces = self._pieces(self.text)
        return "".join(piece if isinstance(piece, str) else escape(product_id[: piece or None]) for piece in pieces)

    @cached_property
    def _glob_expression(self) -> re.Pattern[str]:
        return re.compile(_literal(_local(self.glob)))

    @cached_property
    def _expressions(self) -> list[re.Pattern[str]]:
        """One expression for ids longer than every N, and one for each shorter length, where {product_id:.N} is all of it."""
        pieces = self._pieces(_local(self.text))
        longest = max((piece for piece in pieces if isinstance(piece, int)), default=0)
        shorter = ([min(p, n) if isinstance(p, int) else p for p in pieces] for n in range(1, longest))
        return [
            _expression(pieces, f"{{{max(longest, 1)},}}"),
            *(_expression(cut, f"{{{n}}}") for n, cut in enumerate(shorter, 1)),
        ]

    @staticmethod
    def _pieces(text: str) -> list[str | int]:
        """Literal text, and for each {product_id} 0 or the N of its first N characters."""
        pieces: list[str | int] = []
        for literal, name, spec, _ in string.Formatter().parse(text):
            pieces += [literal] if literal else []
            pieces += [int((spec or ".0")[1:])] if name is not None else []
        return pieces


def _expression(pieces: list[str | int], length: str) -> re.Pattern[str]:
    """Matches exactly the paths of ids of this length: every head of the id is captured once and must be the same again."""
    heads = sorted({piece for piece in pieces if isinstance(piece, int) and piece})
    seen: set[int] = set()
    result = ""
    for piece in pieces:
        if isinstance(piece, str):
            result += _literal(piece)
        elif piece in seen:
            result += f"(?P={_group(piece)})"
        elif piece:
            result += f"(?P<h{piece}>[^/]{{{piece}}})"
            seen.add(piece)
        else:
            result += "(?P<id>"
            result += "".join(f"(?=(?P={_group(h)}))" if h in seen else f"(?=(?P<h{h}>[^/]{{{h}}}))" for h in heads)
            result += f"[^/]{length})"
            seen |= {0, *heads}
    return re.compile(result)


def _group(piece: int) -> str:
    return f"h{piece}" if piece else "id"


def _literal(text: str) -> str:
    return re.escape(text).replace(re.escape(_ANY), "[^/]*")


def _local(path: str) -> str:
    """The path without scheme and host, which a file system may add or leave out, and without doubled slashes."""
    return re.sub("/+", "/", _ROOT.sub("", path))
