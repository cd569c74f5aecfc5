"""Comparing 64 scores at once: the answers are the bits of one integer.

A loop that appends what is above a bar cannot be vectorised by a compiler, and costs most of the pass where it is not.
With the answers as bits it skips 64 scores in one test and steps from one hit to the next.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WIDTH = 64

_intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = intrinsic  # a call leaves out the typing context

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INDICES = ir.VectorType(ir.IntType(32), WIDTH)


def _compare(operator: str, array: Any) -> tuple[Any, Any]:
    """Signature and code of ``array.flat[at : at + WIDTH] operator bar``, bit i for element i."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        first = builder.bitcast(builder.gep(data, [arguments[1]]), _FLOATS.as_pointer())
        values = builder.load(first, align=4)
        bar = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), arguments[2], ir.IntType(32)(0))
        bars = builder.shuffle_vector(bar, bar, ir.Constant(_INDICES, [0] * WIDTH))
        return builder.bitcast(builder.fcmp_ordered(operator, values, bars), ir.IntType(WIDTH))

    return types.uint64(array, types.intp, types.float32), generate


@_intrinsic
def above(typing: Any, array: Any, at: Any, bar: Any) -> Any:
    """Which of the WIDTH elements of a contiguous float32 array from flat position ``at`` on are greater than ``bar``."""
    return _compare(">", array)


@_intrinsic
def reaching(typing: Any, array: Any, at: Any, bar: Any) -> Any:
    """Like ``above``, greater or equal."""
    return _compare(">=", array)


@_intrinsic
def count(typing: Any, bits: Any) -> Any:
    """How many bits are set."""
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@_intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set; one must be."""
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.cttz(
        arguments[0], ir.IntType(1)(1)
    )
