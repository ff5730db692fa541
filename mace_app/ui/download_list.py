"""Links to the files of a run."""

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


def download_list(run: RunFolder, downloads: list[Download], key: str, label: str, primary: str = "") -> None:
    """One link a file; the one named ``primary`` stands out."""
    files = [
        {
            "url": download_url(run, download.name),
            "name": download.name,
            "title": download.title,
            "size": file_size(download.size),
            "primary": download.name == primary,
        }
        for download in downloads
    ]
    _component(key=key, data={"label": label, "files": files})
