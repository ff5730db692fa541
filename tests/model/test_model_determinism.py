import os
import subprocess
import sys
from pathlib import Path

import torch
from resumed_steps import start, steps

from mace_app.model.adapter import o3

HERE = Path(__file__).parent


def test_a_process_that_goes_on_later_ends_with_the_same_bits(tmp_path: Path) -> None:
    """TorchScript specialises code after the first calls; without care the number of calls shows in last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for seed in range(4):  # a history of other models and of e3nn's functions shared by all of them
            harmonics = o3.SphericalHarmonics("0e + 1o + 2e + 3o", True, "component")
            harmonics(torch.randn(50, 3, dtype=torch.float64, requires_grad=True)).square().sum().backward()
            steps(*start(), seed, seed + 1)
        model, optimiser = start()
        steps(model, optimiser, 0, 4)
        torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, tmp_path / "start.pt")
        steps(model, optimiser, 4, 8)
    finally:
        torch.set_num_threads(threads)
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])
    subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "resumed_steps.py"), str(tmp_path), "4", "8"],
        env=os.environ | {"PYTHONPATH": path},
        check=True,
    )
    resumed = torch.load(tmp_path / "end.pt", weights_only=True)
    uninterrupted = model.state_dict()
    assert set(resumed) == set(uninterrupted)
    different = [name for name, value in uninterrupted.items() if not torch.equal(resumed[name], value)]
    assert different == []
