import os
import subprocess
import sys
from pathlib import Path

import torch
from graph_fixtures import small_model
from resumed_steps import steps

HERE = Path(__file__).parent


def test_a_process_that_goes_on_later_ends_with_the_same_bits(tmp_path: Path) -> None:
    """TorchScript specialises code after the first calls; without care the number of calls shows in last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = small_model(max_ell=3)
        steps(model, 0, 3)
        torch.save(model.state_dict(), tmp_path / "start.pt")
        steps(model, 3, 6)
    finally:
        torch.set_num_threads(threads)
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])
    subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "resumed_steps.py"), "start.pt", "end.pt", "3", "6"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        check=True,
    )
    resumed = torch.load(tmp_path / "end.pt", weights_only=True)
    uninterrupted = model.state_dict()
    assert set(resumed) == set(uninterrupted)
    for name, value in uninterrupted.items():
        assert torch.equal(resumed[name], value), name
