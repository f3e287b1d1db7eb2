"""The fields of a protobuf message: enough to inspect an ONNX graph without importing onnx, which takes 0.1 s.

Encoding: https://protobuf.dev/programming-guides/encoding. What no writer produces, such as a group or a number of
more than 64 bits, is rejected, not skipped, so that no two readers see different messages.
"""

from collections.abc import Iterator

Value = int | memoryview | None

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """The number and value of each field, in order: an integer, the bytes of a string or message, or None for a float.

    Raises:
        ValueError: this is not a protobuf message.
    """
    position, end = 0, len(message)
    while position < end:
        # Keys and lengths below 128, which nearly all are, are one byte: read here, they take half as long.
        if (key := message[position]) < 128:
            position += 1
        else:
            key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"a field numbered {number}")
        value: Value = None
        if wire == _BYTES:
            if position < end and (length := message[position]) < 128:
                start = position + 1
            else:
                length, start = _varint(message, position)
            position = start + length
            value = message[start:position]
        elif wire == _VARINT:
            value, position = _varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            position += 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {wire}")
        if position > end:
            raise ValueError("a message that is cut short")
        yield number, value


def integers(value: Value) -> list[int]:
    """The integers in one field of a repeated one: one, or several packed into bytes."""
    if isinstance(value, int):
        return [value]
    found, position, packed = [], 0, as_bytes(value)
    while position < len(packed):
        integer, position = _varint(packed, position)
        found.append(integer)
    return found


def text(value: Value) -> str:
    """A string field."""
    return bytes(as_bytes(value)).decode()


def as_bytes(value: Value) -> memoryview:
    """A bytes field, such as a message.

    Raises:
        ValueError: it is a number.
    """
    if not isinstance(value, memoryview):
        raise ValueError("a number in place of a text or message")
    return value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The integer of 7 bits a byte, the lowest first, that begins at `position`, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise ValueError("a message that is cut short")
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, position
    raise ValueError("an integer of more than 64 bits")
