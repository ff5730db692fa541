from mace_app.ui.model_page import models_page
from mace_app.ui.state import workspace

models_page(workspace())
