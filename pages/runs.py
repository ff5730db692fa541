from mace_app.ui.run_page import runs_page
from mace_app.ui.state import workspace

runs_page(workspace())
