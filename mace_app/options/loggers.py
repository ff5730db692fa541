"""Files of other programs that show how trainings go, written beside our own."""

import re
from typing import Any, ClassVar

from pydantic import field_validator

from mace_app.options.base import Options
from mace_app.options.errors import refuse
from mace_app.options.fields import option

_OFFLINE = "its files are written into the run's folder and nothing is sent; `wandb sync` sends them when you want."


class WandbOptions(Options):
    """How a run is called in Weights & Biases: what ``wandb.init`` is told. The files are written offline."""

    hints: ClassVar[dict[str, str]] = {
        "mode": _OFFLINE,
        "dir": _OFFLINE,
        "id": "it is that of the run here, so that a resumed run stays one run there.",
        "resume": "a resumed run is one run by itself.",
        "config": "it holds all options of the run.",
    }

    project: str = option(
        title="Project",
        section="Weights & Biases",
        help="The project that the run belongs to.",
        explanation="It is made when the first of its runs is sent.",
    )
    entity: str | None = option(
        None,
        title="Entity",
        section="Weights & Biases",
        help="The user or team whose project it is; empty for your own.",
        explanation="It can still be given when the run is sent.",
    )
    name: str | None = option(
        None,
        title="Name",
        section="Weights & Biases",
        help="What the run is called there; empty for its name here.",
        explanation="Two runs may have the same name.",
    )
    group: str | None = option(
        None,
        title="Group",
        section="Weights & Biases",
        help="What its runs are grouped by, for example the seeds of one setting.",
        explanation="Runs of a group are drawn as one line with a spread.",
    )
    tags: list[str] = option(
        [],
        title="Tags",
        section="Weights & Biases",
        help="Words to find the run by.",
        explanation="They are those of Weights & Biases; the tags on the page of the run are others.",
    )
    notes: str | None = option(
        None,
        title="Notes",
        section="Weights & Biases",
        help="A longer text about the run.",
        explanation="It is shown on the run's overview there.",
    )

    @field_validator("project", "entity", "name", "group")
    @classmethod
    def _fit_for_a_name(cls, value: Any, info: Any) -> Any:
        if value is not None and (not value.strip() or len(value) > 128 or re.search(r"[/\\#?%:\x00-\x1f]", value)):
            raise refuse(
                f"`{info.field_name}` must be a name of at most 128 characters without any of / \\ # ? % and :."
            )
        return value
