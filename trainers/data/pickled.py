"""Read numpy arrays from a pickle without running any code that the pickle asks for.

A pickle builds its objects by calls. Here every call makes a record of what it was asked for, and
the arrays are then built from the records: raw bytes of a plain number type, of the right length.
numpy's own constructors are not offered to the pickle, because they can be made to read memory at
an address of its choice.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBERS = re.compile(r"[<>=|]?([biu][1248]|f[48])")


class Dtype:
    """A number type as the pickle describes it."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else str(code)
        self.order = ""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state
        if any(part is not None for part in structure[:3]):
            raise pickle.UnpicklingError("an array of records, expected one of numbers")
        self.order = order.decode() if isinstance(order, bytes) else str(order)

    def numpy(self) -> np.dtype[Any]:
        """The type; raises UnpicklingError unless it is a plain number type."""
        name = self.order + self.code.lstrip("<>=|")
        if not _NUMBERS.fullmatch(name):
            raise pickle.UnpicklingError(f"an array of type {self.code!r}, expected numbers")
        return np.dtype(name)


class Array:
    """An array as the pickle describes it: type, shape, order and raw bytes."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, is_fortran, raw = state
        self.state = (raw, dtype, shape, "F" if is_fortran else "C")

    def numpy(self) -> NDArray[Any]:
        """The array; raises ValueError or TypeError if the bytes do not have its size."""
        raw, dtype, shape, order = self.state
        return np.frombuffer(raw, dtype.numpy()).reshape(shape, order=order)


def _from_buffer(raw: bytes, dtype: Dtype, shape: tuple[int, ...], order: str) -> Array:
    array = Array()
    array.state = (raw, dtype, shape, order)
    return array


def _scalar(dtype: Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.numpy())[0]


def _latin1(text: str, _encoding: str = "latin1") -> bytes:
    """How Python 3 stores bytes in an old pickle protocol, without the choice of other codecs."""
    return text.encode("latin1")


_CALLS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "numpy.ndarray",  # an argument of _reconstruct, never called
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _latin1,
}
"""What a pickle of arrays asks for, by the names that numpy itself writes."""


class Unpickler(pickle.Unpickler):
    """Unpickles containers, numbers, texts, and records of numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """The record for a name that numpy writes; raises UnpicklingError for any other."""
        place = module.replace("numpy._core", "numpy.core")  # the new name and the old one
        if (place, name) in _CALLS:
            return _CALLS[place, name]
        raise pickle.UnpicklingError(
            f"a request for {module}.{name}, which no array of images needs"
        )


def load(data: bytes) -> Any:
    """Unpickle `data`; arrays in it are records, see `array`. May raise almost any exception."""
    return Unpickler(io.BytesIO(data), encoding="bytes").load()


def array(value: Any) -> NDArray[Any]:
    """The array of a record or of a list of numbers."""
    return value.numpy() if isinstance(value, Array) else np.asarray(value)
