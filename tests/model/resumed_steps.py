"""Train a small model for some steps from a given state, in a process without history; used by a test."""

import sys

import torch
from graph_fixtures import batch_of, crystal, ethanol, slab, small_model

from mace_app.model import MaceModel


def start() -> tuple[MaceModel, torch.optim.Optimizer]:
    """Adam divides gradients by their size, so even their last bits count."""
    model = small_model(hidden_irreps="8x0e + 8x1o", max_ell=3, correlation=3)
    return model, torch.optim.Adam(model.parameters(), lr=0.01, amsgrad=True)


def steps(model: MaceModel, optimiser: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        batch = batch_of(model, ethanol(step), crystal(step), slab(step))
        predictions = model(batch, model.labels, create_graph=True)
        optimiser.zero_grad()
        sum(value.square().mean() for value in predictions.values()).backward()
        optimiser.step()


def main(folder: str, first: int, last: int) -> None:
    torch.set_num_threads(1)
    model, optimiser = start()
    state = torch.load(f"{folder}/start.pt", weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    steps(model, optimiser, first, last)
    torch.save(model.state_dict(), f"{folder}/end.pt")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
