"""Reading a pickle without unpickling it.

A pickle is a program for a stack machine (PEP 3154; the instructions are described in Python's ``pickletools``). This
is such a machine with the dangerous half left out: it never imports, calls, constructs or looks up anything, and makes
only ``None``, truth values, numbers, texts, bytes, tuples, lists and the records of ``shells``. It knows the
instructions of protocols 2 to 5 that ``torch.save`` can write, and refuses all others. Work and memory are bounded by
the size of the pickle and by ``MOST_STEPS``, since no instruction does more than a constant amount of work on what it
did not read.
"""

import struct
from collections.abc import Callable
from typing import Any

from mace_app.model.foundation.errors import FoundationError
from mace_app.model.foundation.shells import Global, Pairs, Shell, Stored

MOST_STEPS = 1_000_000
_LONGEST_NUMBER = 16
_LONGEST_NAME = 512


class _Mark:
    __slots__ = ()


_MARK = _Mark()


class _Broken(Exception):
    """The program is cut off or makes no sense."""


def read_pickle(data: bytes, name: str) -> Any:
    """What the pickle describes, as plain values and shells. Raises FoundationError, naming the file ``name``."""
    machine = _Machine(data)
    try:
        return machine.run()
    except (_Broken, IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, _Broken) else "it breaks off or contradicts itself"
        raise FoundationError(
            f"`{name}` is damaged or no model: {reason} (byte {machine.place} of its description). Nothing of it was "
            "executed; download or copy it again."
        ) from None


class _Machine:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            code = self.data[self.place]
            self.place += 1
            if code == _STOP:
                value = self.stack.pop()
                if value is _MARK:
                    raise _Broken("it ends in the middle")
                return value
            action = _ACTIONS.get(code)
            if action is None:
                raise _Broken(f"it uses the instruction {code:#04x}, which no model needs")
            action(self)
        raise _Broken(f"it has more than {MOST_STEPS} instructions")

    # Reading

    def take(self, length: int) -> bytes:
        if length < 0 or length > len(self.data) - self.place:
            raise _Broken("it breaks off")
        self.place += length
        return self.data[self.place - length : self.place]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def text(self, length: int) -> str:
        return self.take(length).decode("utf-8", "surrogatepass")

    def line(self) -> str:
        end = self.data.find(b"\n", self.place, self.place + _LONGEST_NAME)
        if end < 0:
            raise _Broken("a name in it does not end")
        text = self.data[self.place : end].decode("utf-8")
        self.place = end + 1
        return text

    def long(self, length: int) -> int:
        if length > _LONGEST_NUMBER:
            raise _Broken("it holds a number of absurd size")
        return int.from_bytes(self.take(length), "little", signed=True)

    # The stack

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise _Broken("it takes what is not there")
        return value

    def top(self) -> Any:
        value = self.stack[-1]
        if value is _MARK:
            raise _Broken("it takes what is not there")
        return value

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                found = self.stack[index + 1 :]
                del self.stack[index:]
                return found
        raise _Broken("it takes what is not there")

    def pop_tuple(self, length: int) -> None:
        values = [self.pop() for _ in range(length)]
        self.push(tuple(reversed(values)))

    # Names and calls, of which only a note is taken

    def named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > _LONGEST_NAME:
            raise _Broken("a name in it is no text")
        self.push(Global(module, name))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self.named(module, name)

    def call(self) -> None:
        arguments, maker = self.pop(), self.pop()
        self.push(Shell(maker, arguments))

    def call_with_keywords(self) -> None:
        keywords, arguments, maker = self.pop(), self.pop(), self.pop()
        shell = Shell(maker, arguments)
        if isinstance(keywords, Pairs):
            shell.pairs.extend(keywords.pairs)
        self.push(shell)

    def build(self) -> None:
        state, shell = self.pop(), self.top()
        if not isinstance(shell, Shell):
            raise _Broken("it gives a state to what has none")
        shell.state = state

    # Containers

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Shell):
            target.entries.extend(values)
        else:
            raise _Broken("it adds to what is no list")

    def set_items(self, flat: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, Pairs | Shell) or len(flat) % 2:
            raise _Broken("it sets entries of what is no dictionary")
        target.pairs.extend(zip(flat[::2], flat[1::2], strict=True))

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def new_set(self, values: list[Any]) -> None:
        shell = Shell(Global("builtins", "set"), ())
        shell.entries.extend(values)
        self.push(shell)

    def dictionary(self) -> None:
        flat = self.since_mark()
        self.push(Pairs())
        self.set_items(flat)

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()


_STOP = ord(".")
_FLOAT = struct.Struct(">d")
_INT = struct.Struct("<i")

_ACTIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda m: m.take(1),  # PROTO
    0x95: lambda m: m.take(8),  # FRAME
    ord("("): lambda m: m.push(_MARK),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("G"): lambda m: m.push(_FLOAT.unpack(m.take(8))[0]),
    ord("J"): lambda m: m.push(_INT.unpack(m.take(4))[0]),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: m.push(m.long(m.number(1))),
    0x8B: lambda m: m.push(m.long(m.number(4))),
    ord("X"): lambda m: m.push(m.text(m.number(4))),
    0x8C: lambda m: m.push(m.text(m.number(1))),
    0x8D: lambda m: m.push(m.text(m.number(8))),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    ord("C"): lambda m: m.push(m.take(m.number(1))),
    0x8E: lambda m: m.push(m.take(m.number(8))),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.pop_tuple(1),
    0x86: lambda m: m.pop_tuple(2),
    0x87: lambda m: m.pop_tuple(3),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.since_mark()),
    ord("}"): lambda m: m.push(Pairs()),
    ord("d"): _Machine.dictionary,
    ord("s"): _Machine.set_item,
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x8F: lambda m: m.new_set([]),
    0x90: lambda m: m.append(m.since_mark()),  # ADDITEMS
    0x91: lambda m: m.new_set(m.since_mark()),  # FROZENSET
    ord("c"): lambda m: m.named(m.line(), m.line()),
    0x93: _Machine.stack_global,
    ord("R"): _Machine.call,
    0x81: _Machine.call,  # NEWOBJ
    0x92: _Machine.call_with_keywords,  # NEWOBJ_EX
    ord("b"): _Machine.build,
    ord("Q"): lambda m: m.push(Stored(m.pop())),
    ord("q"): lambda m: m.remember(m.number(1)),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.push(m.memo[m.number(1)]),
    ord("j"): lambda m: m.push(m.memo[m.number(4)]),
}
