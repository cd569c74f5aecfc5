"""The innermost loops of matrix products as LLVM instructions: what is summed up stays in vector registers.

Numba's own loops write a sum to memory after each step. All arrays are contiguous. ``add_rows`` and ``add_products`` are
those of ``vasg.training.sparse_kernel``, whose rows are WIDTH floats; ``multiply`` is that of ``vasg.scoring.product``,
which takes ROWS rows and COLUMNS columns of the result at a time; ``multiply_strip`` is that of ``vasg.training.kernel``,
whose matrices are small: STRIP rows and LANES columns.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8  # floats in a register
WIDTH = 96
_REGISTERS = WIDTH // LANES  # twelve of the sixteen that AVX2 has
ROWS, _ACROSS = 4, LANES // 4  # eight sums in those of AVX2, sixteen in the thirty-two of AVX-512
COLUMNS = LANES * _ACROSS
STRIP = 8  # sums, in any of them
_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _add_rows(
    typing: Any, total: Any, offset: Any, tile: Any, place: Any, value: Any, start: Any, stop: Any
) -> tuple[Any, Callable[..., Any]]:
    """total[offset:][:WIDTH] += sum over p in start...stop of value[p] * tile[place[p]:][:WIDTH]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, tile, place, value = (_data(context, builder, signature, arguments, n) for n in (0, 2, 3, 4))
        own = builder.gep(total, [arguments[1]])
        sums = [cgutils.alloca_once_value(builder, _load(builder, own, r)) for r in range(_REGISTERS)]
        with cgutils.for_range_slice(builder, arguments[5], arguments[6], _INT(1)) as (p, _):
            row = _row(builder, tile, place, p)
            factor = _everywhere(builder, builder.load(builder.gep(value, [p])))
            for r, held in enumerate(sums):
                builder.store(_fused(builder, factor, _load(builder, row, r), builder.load(held)), held)
        for r, held in enumerate(sums):
            builder.store(builder.load(held), _vector(builder, own, r)).align = 4
        return context.get_dummy_value()

    return types.void(total, types.int64, tile, place, value, types.int64, types.int64), generate


def _add_products(
    typing: Any, total: Any, rows: Any, offset: Any, tile: Any, place: Any, start: Any, stop: Any
) -> tuple[Any, Callable[..., Any]]:
    """total[p] += the inner product of rows[offset:][:WIDTH] and tile[place[p]:][:WIDTH], for each p in start...stop."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, rows, tile, place = (_data(context, builder, signature, arguments, n) for n in (0, 1, 3, 4))
        own = builder.gep(rows, [arguments[2]])
        held = [_load(builder, own, r) for r in range(_REGISTERS)]
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        add_lanes = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
        with cgutils.for_range_slice(builder, arguments[5], arguments[6], _INT(1)) as (p, _):
            row = _row(builder, tile, place, p)
            sums = [ir.Constant(_VECTOR, [0.0] * LANES)] * 4  # four, for each step of a sum waits for the one before
            for r, mine in enumerate(held):
                sums[r % 4] = _fused(builder, mine, _load(builder, row, r), sums[r % 4])
            lanes = builder.fadd(builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3]))
            target = builder.gep(total, [p])
            builder.store(builder.call(add_lanes, [builder.load(target), lanes], fastmath=("reassoc",)), target)
        return context.get_dummy_value()

    return types.void(total, rows, types.int64, tile, place, types.int64, types.int64), generate


def _multiply(rows: int, across: int) -> Callable[..., Any]:
    """An intrinsic for ``rows`` rows and ``across`` registers of columns of the product of two matrices.

    out[corner + r * width:] becomes the sum over k < depth of a[left + r * stride + k * step] * b[top + k * line:]. With
    ``add`` it is added to what is there.
    """

    def multiply(
        typing: Any, a: Any, left: Any, stride: Any, step: Any, b: Any, top: Any, line: Any, depth: Any, out: Any, corner: Any,
        width: Any, add: Any,
    ) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, b, out = (_data(context, builder, signature, arguments, n) for n in (0, 4, 8))
            left, stride, step, top, line, depth, corner, width, add = (
                arguments[n] for n in (1, 2, 3, 5, 6, 7, 9, 10, 11)
            )
            lefts, targets = (
                [builder.gep(array, [builder.add(first, builder.mul(_INT(r), jump))]) for r in range(rows)]
                for array, first, jump in ((a, left, stride), (out, corner, width))
            )
            zero = ir.Constant(_VECTOR, [0.0] * LANES)
            before = [[builder.select(add, _load(builder, row, v), zero) for v in range(across)] for row in targets]
            sums = [[cgutils.alloca_once_value(builder, value) for value in row] for row in before]
            with cgutils.for_range_slice(builder, _INT(0), depth, _INT(1)) as (k, _):
                start = builder.gep(b, [builder.add(top, builder.mul(k, line))])
                columns = [_load(builder, start, v) for v in range(across)]
                for row, held in zip(lefts, sums, strict=True):
                    factor = _everywhere(builder, builder.load(builder.gep(row, [builder.mul(k, step)])))
                    for column, total in zip(columns, held, strict=True):
                        builder.store(_fused(builder, factor, column, builder.load(total)), total)
            for row, held in zip(targets, sums, strict=True):
                for v, total in enumerate(held):
                    builder.store(builder.load(total), _vector(builder, row, v)).align = 4
            return context.get_dummy_value()

        n = types.int64
        return types.void(a, n, n, n, b, n, n, n, out, n, n, types.boolean), generate

    return multiply


add_rows: Any = intrinsic(_add_rows)
add_products: Any = intrinsic(_add_products)
multiply: Any = intrinsic(_multiply(ROWS, _ACROSS))
multiply_strip: Any = intrinsic(_multiply(STRIP, 1))


def _data(context: Any, builder: Any, signature: Any, arguments: Any, number: int) -> Any:
    """Pointer to the first element of an array."""
    return cgutils.create_struct_proxy(signature.args[number])(context, builder, value=arguments[number]).data


def _row(builder: Any, tile: Any, place: Any, number: Any) -> Any:
    """Pointer to where in ``tile`` the row of a nonzero begins."""
    return builder.gep(tile, [builder.sext(builder.load(builder.gep(place, [number])), _INT)])


def _vector(builder: Any, pointer: Any, number: int) -> Any:
    return builder.bitcast(builder.gep(pointer, [_INT(number * LANES)]), _VECTOR.as_pointer())


def _load(builder: Any, pointer: Any, number: int) -> Any:
    loaded = builder.load(_vector(builder, pointer, number))
    loaded.align = 4
    return loaded


def _everywhere(builder: Any, value: Any) -> Any:
    """A vector of equal elements."""
    empty, index = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(empty, value, index(0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, one instruction where the processor has it."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))
