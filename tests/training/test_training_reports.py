from mace_app.options import TargetInfo
from mace_app.training.losses import LossSummary
from mace_app.training.metrics import reported_labels
from mace_app.training.passes import PassResult
from mace_app.training.reports import epoch_line, epoch_record


def line(*names, **terms):
    targets = {name: TargetInfo(name, "energy", "eV", has_forces=True) for name in names}
    terms = {label.replace("__", "/").replace("_forces", ".forces"): value for label, value in terms.items()}
    record = epoch_record(
        epoch=3,
        step=30,
        seconds=1.5,
        learning_rate=0.01,
        structures_per_second=None,
        trained=PassResult(LossSummary(sum(terms.values()), terms, terms), {}),
        validated=None,
        monitored=None,
        best=False,
    )
    return epoch_line(record, reported_labels(targets), 100)


def test_the_line_of_an_epoch_says_what_each_term_makes_up_of_the_loss():
    assert "loss 5  shares energy 12 % forces 88 %  rate 0.01" in line("energy", energy=0.6, energy_forces=4.4)
    assert "shares energy 100 % forces 0.2 %" in line("energy", energy=998.0, energy_forces=2.0)


def test_forces_of_several_energies_keep_their_names():
    shown = line("energy/a", "energy/b", energy__a=1.0, energy__a_forces=1.0, energy__b=1.0, energy__b_forces=1.0)
    assert "shares energy/a 25 % energy/a.forces 25 % energy/b 25 % energy/b.forces 25 %" in shown


def test_one_term_alone_needs_no_share():
    assert "share" not in line("energy", energy=1.0)
