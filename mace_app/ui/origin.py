"""Of a fine-tuned run: the foundation file it began with, in words."""

from pathlib import PurePath

from mace_app.jobs import RunFolder
from mace_app.published import published_as
from mace_app.ui.text import code, markdown


def origin_words(run: RunFolder) -> str:
    """File, licence, and the heads that go on, as Markdown; empty for a run from random weights.

    Before the run has read the file, what its options say. Raises JobsError and OptionsError.
    """
    begun = run.foundation()
    if begun is not None:
        heads = "; ".join(f"head {code(head)} as {code(name)}" for name, head in (begun.get("heads") or {}).items())
        return _words(str(begun.get("file") or ""), begun.get("title"), begun.get("licence")) + (
            f" · {heads}" if heads else ""
        )
    path = run.options().architecture.model.mace_model
    if path is None:
        return ""
    known = published_as(PurePath(path).name)
    return _words(path, known.title if known else None, known.licence if known else None)


def _words(path: str, title: str | None, licence: str | None) -> str:
    name = PurePath(path.replace("\\", "/")).name
    known = f"{markdown(title)} ({code(name)})" if title else code(name)
    return f"from {known} · licence: {markdown(licence) if licence else 'not known'}"
