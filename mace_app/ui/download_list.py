"""Links to files that the server streams from disk."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import streamlit as st

from mace_app.jobs import Download, RunFolder
from mace_app.ui.routes import download_url
from mace_app.ui.times import file_size

_component = st.components.v2.component(
    "mace_download_list",
    html='<ul class="files"></ul>',
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class DownloadLink:
    """``title`` is what the link says, ``size`` in words; ``primary`` ones stand out."""

    url: str
    name: str
    title: str
    size: str
    primary: bool = False


def download_list(run: RunFolder, downloads: list[Download], key: str, label: str, primary: str = "") -> None:
    """One link a file of a run; the one named ``primary`` stands out."""
    links = [
        DownloadLink(
            download_url(run, download.name),
            download.name,
            download.title,
            file_size(download.size),
            download.name == primary,
        )
        for download in downloads
    ]
    link_list(links, key, label)


def link_list(links: Sequence[DownloadLink], key: str, label: str) -> None:
    """``label`` names the list for those who hear the page."""
    _component(key=key, data={"label": label, "files": [asdict(link) for link in links]})
