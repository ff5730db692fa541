"""The browser side must open at once: nothing it imports may pull in torch (docs/architecture.md, idea 2)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "mace", "e3nn", "metatomic", "metatensor", "matplotlib")
PACKAGES = ["mace_app.analysis", "mace_app.options", "mace_app.data", "mace_app.jobs", "mace_app.ui"]


def heavy_after(code: str) -> str:
    """The heavy packages loaded after ``code`` ran in a fresh interpreter."""
    report = f"import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1].strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_every_module_of_a_browser_side_package_loads_nothing_heavy(package: str) -> None:
    code = (
        f"import importlib, pkgutil, {package} as package\n"
        "for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)"
    )
    assert heavy_after(code) == ""


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "pages").glob("*.py")))
def test_running_a_page_loads_nothing_heavy(page: str, tmp_path: Path) -> None:
    code = (
        f"import os; os.environ['MACE_APP_WORKSPACE'] = {str(tmp_path)!r}\n"
        "from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('mace_app/ui/shell.py', default_timeout=60).run()\n"
        f"app.switch_page('../../pages/{page}').run()\n"
        "assert not app.exception, app.exception"
    )
    assert heavy_after(code) == ""


def test_the_command_line_help_loads_nothing_heavy() -> None:
    code = "from mace_app.__main__ import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert heavy_after(code) == ""
