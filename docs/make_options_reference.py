"""Write docs/options.md from the option models: ``python docs/make_options_reference.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mace_app.files import write_text
from mace_app.options.reference import options_reference

if __name__ == "__main__":
    write_text(Path(__file__).with_name("options.md"), options_reference())
