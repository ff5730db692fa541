"""The addresses served beside the pages: the chart library, and downloads that are streamed from disk."""

from pathlib import Path

import plotly
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles


def routes() -> list[BaseRoute]:
    """What `app.py` hands to `st.App`. Streamlit keeps `/_stcore`, `/media`, `/component` and `/static` for itself."""
    return [
        Mount("/vendor/plotly", StaticFiles(directory=Path(plotly.__file__).parent / "package_data")),
    ]
