from mace_app.ui.foundation_page import foundation_page
from mace_app.ui.state import workspace

foundation_page(workspace())
