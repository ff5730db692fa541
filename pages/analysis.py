from mace_app.ui.analysis_page import analysis_page
from mace_app.ui.state import workspace

analysis_page(workspace())
