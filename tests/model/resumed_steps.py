"""Train a small model for some steps from given weights, in a process without history; used by a test."""

import sys

import torch
from graph_fixtures import batch_of, crystal, ethanol, slab, small_model


def steps(model: torch.nn.Module, first: int, last: int) -> None:
    for step in range(first, last):
        batch = batch_of(model, ethanol(step), crystal(step), slab(step))
        predictions = model(batch, model.labels, create_graph=True)
        loss = sum(value.square().mean() for value in predictions.values())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad


if __name__ == "__main__":
    start, end, first, last = sys.argv[1:]
    torch.set_num_threads(1)
    resumed = small_model(max_ell=3)
    resumed.load_state_dict(torch.load(start, weights_only=True))
    steps(resumed, int(first), int(last))
    torch.save(resumed.state_dict(), end)
