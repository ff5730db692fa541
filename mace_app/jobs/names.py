"""Names: from what a person typed to what may be a folder or a file of the workspace."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta

_FOLDER = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def slug(text: str, fallback: str) -> str:
    """Lower-case letters, digits and dashes, at most 40 characters; ``fallback`` when nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or fallback


def is_folder_name(text: str) -> bool:
    """True for names this module made, False for anything that could lead elsewhere."""
    return _FOLDER.fullmatch(text) is not None


def safe_file_name(original: str, fallback: str) -> str:
    """The last part of an uploaded file's name, reduced to letters, digits, ``.``, ``_`` and ``-``.

    The name is kept as far as it is harmless, for readers know formats by names such as ``OUTCAR`` or ``a.extxyz``.
    """
    last = re.split(r"[/\\]", original)[-1]
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).lstrip("._-")
    return name[-100:].lstrip("._-") or fallback


def display_name(text: str, fallback: str) -> str:
    """What a person typed, on one line, without control characters, at most 100 characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:100] or fallback


def plain_text(text: str) -> str:
    """What a person typed, on several lines, without other control characters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    kept = ("".join(c for c in line if c.isprintable() or c == "\t").rstrip() for line in lines)
    return "\n".join(kept).strip("\n")


def run_id(name: str, attempt: int = 1, now: datetime | None = None) -> str:
    """``20250131-235959-ethanol``, UTC; a second run of the same second and name gets ``-2``, and so on."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    identifier = f"{moment:%Y%m%d-%H%M%S}-{slug(name, 'run')}"
    return identifier if attempt == 1 else f"{identifier}-{attempt}"


def utc_now(offset_seconds: float = 0.0) -> str:
    """The moment as ISO 8601 with seconds, in UTC; or one so many seconds later."""
    return (datetime.now(UTC) + timedelta(seconds=offset_seconds)).isoformat(timespec="seconds")
