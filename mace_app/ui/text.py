"""Text from files and people, made safe for Markdown and HTML: it is shown, never interpreted."""

import html
import re

# What Markdown and Streamlit's directives give a meaning anywhere, and at the start of a line.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>~$:|#!&^=@])")
_LEADING = re.compile(r"^(\d*)([-+.)])")
_CODE = re.compile(r"`([^`]*)`")
# What becomes an icon, an emoji, a link or an arrow even behind backslashes, because it is looked for in the finished
# text: `:material/home:`, `:smile:`, `https://`, `www.`, an address of e-mail, ` -> `. An invisible character that
# joins words keeps its halves apart.
_TAKEN_APART = re.compile(
    r"(?<=:)(?=material/|[\w+-]+:|//)|(?<=www)(?=\.)|(?<=[\w.+-])(?=@[\w-])"
    r"|(?<=(?<!\S)[<>~-])(?=(?:->|[>=-])(?!\S))",
    re.IGNORECASE,
)
_JOINER = "\u2060"


def markdown(text: object) -> str:
    """Any text as Markdown that renders as exactly this text, on one line."""
    return _LEADING.sub(r"\1\\\2", _escape(" ".join(str(text).split())))


def badge_label(text: object) -> str:
    """The same for ``st.badge``, which puts its own backslashes before square brackets: ours would undo them."""
    return markdown(text).replace(r"\[", "[").replace(r"\]", "]")


def code(text: object) -> str:
    """Any text as inline code in Markdown; backticks inside become apostrophes."""
    plain = " ".join(str(text).split()).replace("`", "'").replace(":material/", f":{_JOINER}material/")
    return f"`{plain}`" if plain else ""


def sentence_html(sentence: str) -> str:
    """A sentence of ours with `code` in backticks as HTML; everything else in it is shown as it is."""
    parts = _CODE.split(sentence)
    return "".join(
        f"<code>{html.escape(part)}</code>" if place % 2 else html.escape(part) for place, part in enumerate(parts)
    )


def sentence_markdown(sentence: str) -> str:
    """A sentence of ours with `code` in backticks as Markdown; everything else in it is shown as it is."""
    parts = _CODE.split(sentence)
    return "".join(code(part) if place % 2 else _escape(part) for place, part in enumerate(parts))


def _escape(part: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _TAKEN_APART.sub(_JOINER, part.replace("\n", " ")))


def number(value: float) -> str:
    """A number as a person would type it: `5e-07`, `0.01`, `4`."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def count(amount: int, singular: str, plural: str | None = None) -> str:
    """`1 structure`, `950 structures`, with thin spaces between thousands."""
    word = singular if amount == 1 else (plural or f"{singular}s")
    return f"{digits(amount)} {word}"


def digits(amount: int) -> str:
    """`950`, `123 456`, with thin spaces between thousands."""
    return f"{amount:,}".replace(",", "\u202f")
