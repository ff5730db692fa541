"""The comment line of extended xyz, with ASE's grammar.

ASE's ``key_val_str_to_dict`` goes character by character: half of the time to read a small structure. Lines of plain
``key=value`` and ``key="value"`` pairs, which nearly all are, are cut here with one expression; values that come again
are remembered, numbers are converted directly, and whatever else there may be is left to ASE.
"""

import re
from functools import lru_cache
from typing import Any

import numpy as np
from ase.io.extxyz import SPECIAL_3_3_KEYS, UNPROCESSED_KEYS, key_val_str_to_dict

_BARE = r"""[^\s"'{}\[\]\\=]+"""
_PAIR = re.compile(rf'({_BARE})=(?:"([^"\\]+)"|({_BARE}))(?:\s+|$)')
_DECIMAL = r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?"
_DECIMALS = re.compile(rf"[ ]*{_DECIMAL}(?:[ ]+{_DECIMAL})*[ ]*")
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_OF_NUMBERS = frozenset("+-0123456789 ")
_LONGEST_REMEMBERED = 200
_MOST_REMEMBERED = 4096


def read_comment(text: str) -> dict[str, Any]:
    """What ASE's ``key_val_str_to_dict`` gives, with the same errors."""
    found: dict[str, Any] = {}
    end = 0
    try:
        for match in _PAIR.finditer(text):
            if match.start() != end:
                break
            end = match.end()
            key, quoted, bare = match.groups()
            found[key] = _value(key, quoted or bare)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        end = -1
    if end == len(text):
        return found
    whole: dict[str, Any] = key_val_str_to_dict(text)
    return whole


def _value(key: str, text: str) -> Any:
    if key.lower() in UNPROCESSED_KEYS:
        return text
    if text[0] not in _OF_NUMBERS:
        return _other(key, text)
    if _DECIMALS.fullmatch(text):
        numbers = [float(part) for part in text.split()]
        if key in SPECIAL_3_3_KEYS:
            return np.array(numbers).reshape((3, 3), order="F")
        return np.array(numbers) if len(numbers) > 1 else np.float64(numbers[0])
    if key not in SPECIAL_3_3_KEYS and _WHOLE.fullmatch(text):
        return np.int64(text)
    return _other(key, text)


def _other(key: str, text: str) -> Any:
    value = _remembered(key, text) if len(text) < _LONGEST_REMEMBERED else _by_ase(key, text)
    return value.copy() if isinstance(value, np.ndarray | list) else value


def _by_ase(key: str, text: str) -> Any:
    return key_val_str_to_dict(f'{key}="{text}"')[key]


_remembered = lru_cache(_MOST_REMEMBERED)(_by_ase)
