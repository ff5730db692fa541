"""A stranger's file may say whatever it likes: nothing of it runs, and one sentence says what is wrong with it."""

import encodings.cp437  # noqa: F401 — zipfile would import it when it is first used
import os
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mace_files import KINDS, build, save
from pickles import Call, archive, changed_description, global_call, module, pickled, tensor

from mace_app.__main__ import main
from mace_app.model.adapter import o3
from mace_app.model.foundation import FoundationError, foundation_model, open_foundation, rebuild

# What running anything would need. Opening a file to read it is all that reading takes.
WATCHED = (
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "ctypes.",
    "marshal.",
    "pickle.find_class",
    "exec",
    "compile",
    "import",
    "urllib.Request",
    "code.__new__",
    "tempfile.",
    "webbrowser.",
)
_seen: list[tuple[str, Any]] = []
_watching = [False]


def _hook(event: str, arguments: Any) -> None:
    if _watching[0]:
        writes = event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) <= set("rb"))
        if writes or event.startswith(WATCHED):
            _seen.append((event, arguments))


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[tuple[str, Any]]]:
    """Lists everything dangerous that Python is asked to do inside."""
    _seen.clear()
    _watching[0] = True
    try:
        yield _seen
    finally:
        _watching[0] = False


@contextmanager
def nothing_runs() -> Iterator[None]:
    with watched() as seen:
        yield
    assert seen == []


def refusal(path: Path) -> str:
    with pytest.raises(FoundationError) as caught:
        foundation_model(open_foundation(path))
    sentence = str(caught.value)
    assert path.name in sentence and "\n" not in sentence and len(sentence) < 500
    return sentence


def written(folder: Path, data: bytes, name: str = "trap.model") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(build(), tmp_path_factory.mktemp("good") / "good.model")


def test_the_watch_sees_what_torch_would_have_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "was here"
    path = written(tmp_path, archive(pickled(Call(os.system, f"touch '{sentinel}'"))))
    with watched() as seen:
        torch.load(path, weights_only=False)
    assert sentinel.exists()
    assert any(event == "os.system" for event, _ in seen)


def pickled_text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def traps(sentinel: Path) -> dict[str, bytes]:
    """Pickles that would do something, by what."""
    command = f"touch '{sentinel}'"
    python = f"open({str(sentinel)!r}, 'w').write('x')"
    inner = pickled(Call(os.system, command))
    return {
        "a command": pickled(Call(os.system, command)),
        "a command in protocol 4": global_call("os", "system", command),
        "a command in protocol 5": pickled(Call(os.system, command), 5),
        "a process": pickled(Call(subprocess.Popen, ["touch", str(sentinel)])),
        "a written file": pickled(Call(open, str(sentinel), "w")),
        "a socket": pickled(Call(socket.create_connection, ("127.0.0.1", 9))),
        "eval": pickled(Call(eval, python)),
        "exec": pickled(Call(exec, python)),
        "an import": pickled(Call(__import__, "antigravity")),
        "a deleted file": pickled(Call(os.unlink, __file__ + ".nothing")),
        "a pickle in a pickle": global_call("pickle", "loads", inner.decode("latin1")),
        "torch.load": global_call("torch", "load", str(sentinel)),
        "getattr": global_call("builtins", "getattr", "os"),
        "a state that is set": b"\x80\x02cos\nsystem\n)\x81X\x05\x00\x00\x00helloub.",
        "breakpoint": pickled(Call(breakpoint)),
        "runpy": global_call("runpy", "run_path", str(sentinel)),
        "the oldest way to make an object": f"(V{command}\nios\nsystem\n.".encode(),
        "an object after a mark": b"\x80\x02(cos\nsystem\nX" + pickled_text(command) + b"o.",
        "a name for what is elsewhere": b"Pos.system\n.",
        "an extension": b"\x80\x02\x82\x01.",
        "a buffer from outside": b"\x80\x05\x97.",
        "a list that is called": b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R]a.",
    }


@pytest.mark.parametrize("kind", traps(Path("x")))
def test_a_pickle_that_would_do_something_does_nothing(kind: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "was here"
    path = written(tmp_path, archive(traps(sentinel)[kind]))
    with nothing_runs():
        sentence = refusal(path)
    assert not sentinel.exists()
    assert "model" in sentence


def test_a_trap_inside_a_model_that_is_good_otherwise_stays_shut(good: Path, tmp_path: Path) -> None:
    sentinel = tmp_path / "was here"
    model = build()
    model.note = Call(os.system, f"touch '{sentinel}'")
    model.interactions[0].linear.__dict__["_extra"] = [Call(eval, f"open({str(sentinel)!r}, 'w')")]
    model.register_buffer("harmless", torch.zeros(0))
    path = save(model, tmp_path / "trap.model")
    with nothing_runs():
        foundation = open_foundation(path)
    clean = open_foundation(good)
    assert not sentinel.exists()
    assert all(torch.equal(foundation.tensors[name], value) for name, value in clean.tensors.items())
    assert foundation_model(foundation).config.architecture == foundation_model(clean).config.architecture
    assert not sentinel.exists()


@pytest.mark.parametrize("kind", ["ordinary", "newest_two_heads"])
def test_reading_a_real_file_asks_python_for_nothing_but_the_file(kind: str, tmp_path: Path) -> None:
    path = save(KINDS[kind](), tmp_path / "real.model")
    with nothing_runs():
        assert open_foundation(path).kind == "ScaleShiftMACE"


def bombs() -> dict[str, bytes]:
    many = 200_000
    start = b"\x80\x02"
    laughs = b"]q\x00" + b"".join(
        b"](" + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1]) for level in range(60)
    )
    return {
        "lists in lists": start + b"]" * many + b"a" * (many - 1) + b".",
        "tuples in tuples": start + b")" + b"\x85" * many + b".",
        "ten to the sixty": start + laughs + b".",
        "a huge memo": start + b"]r\xff\xff\xff\xff.",
        "a text of 2^60 letters": start + b"\x8d" + struct.pack("<Q", 2**60) + b"x.",
        "bytes of 2^60": start + b"\x8e" + struct.pack("<Q", 2**60) + b"x.",
        "a number of 1 MB": start + b"\x8b" + struct.pack("<I", 2**20) + b"\x7f" * 2**20 + b".",
        "a frame of 2^60": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        "endless work": start + b"]" + b"]0" * 1_000_000 + b".",
        "copies of a text": start + b"X\x00\x00\x10\x00" + b"x" * 2**20 + b"q\x00" + b"h\x00" * many + b".",
        "bytes of a text, often": start
        + b"c_codecs\nencode\nq\x01X\x00\x00\x10\x00"
        + b"x" * 2**20
        + b"X\x06\x00\x00\x00latin1\x86q\x02"
        + b"h\x01h\x02R" * many
        + b".",
        "marks only": start + b"(" * many + b".",
        "keys that collide": start
        + b"}("
        + b"".join(b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little") + b"N" for number in range(50_000))
        + b"u.",
    }


BOMB_WORDS = {"a number of 1 MB": "absurd size", "endless work": "instructions"}


@pytest.mark.parametrize("kind", bombs())
def test_a_bomb_takes_neither_time_nor_memory(kind: str, tmp_path: Path) -> None:
    data = bombs()[kind]
    path = written(tmp_path, archive(data))
    tracemalloc.start()
    begin = time.process_time()
    try:
        with nothing_runs():
            sentence = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 150e6 + 8 * len(data)
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 30
    assert BOMB_WORDS.get(kind, "") in sentence


def test_a_model_of_the_same_numbers_a_thousand_times_takes_no_memory_for_them(tmp_path: Path) -> None:
    size = 4_000_000
    truths = {f"mask_{index}": tensor("0", 0, (size,), (1,), "BoolStorage", size) for index in range(3000)}
    path = written(tmp_path, archive(module("ScaleShiftMACE", truths), {"0": b"\x01" * size}))
    tracemalloc.start()
    begin = time.process_time()
    try:
        with nothing_runs():
            assert "made of the same numbers" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 20


def test_an_attribute_that_unfolds_to_ten_to_the_eight_is_not_unfolded(tmp_path: Path) -> None:
    model = build()
    nested: Any = [1] * 10
    for _ in range(7):
        nested = [nested] * 10
    model.products[0].linear.__dict__["instructions"] = nested
    model.heads = nested
    path = save(model, tmp_path / "laughs.model")
    begin = time.process_time()
    with nothing_runs():
        foundation = open_foundation(path)
    assert foundation.heads == ["Default"]
    rebuild(foundation)  # what can't be compared is mace-torch's own
    assert time.process_time() - begin < 20


def test_what_would_take_hours_to_build_or_to_run_is_refused(tmp_path: Path) -> None:
    model = build(hidden_irreps="1x0e + 1x1o + 1x2e + 1x3o", max_ell=3)
    model.interactions[0].linear_up.irreps_out = model.products[0].linear.irreps_out = o3.Irreps("1x0e + 1x1o") * 30
    assert "kinds of products" in refusal(save(model, tmp_path / "many.model"))
    for cutoff in (1e6, -1.0, 0.0, float("nan")):
        model = build()
        model.r_max = torch.tensor(cutoff)
        assert "cutoff" in (found := refusal(save(model, tmp_path / "far.model"))) or "r_max" in found


def test_a_sentence_about_a_file_does_not_move_the_cursor(tmp_path: Path) -> None:
    """Names come from the file; a terminal would obey some of them."""
    evil = "Model\x1b[2J\x1b]0;owned\x07\r\u202e"
    for data in (
        module(evil, {}),
        b"\x80\x04X" + struct.pack("<I", 3) + b"\xed\xa0\x80X\x01\x00\x00\x00x\x93)\x81}b.",
        module("ScaleShiftMACE", {evil: tensor("9", 0, (1,), (1,))}),
    ):
        path = written(tmp_path, archive(data))
        with nothing_runs():
            sentence = refusal(path)
        assert sentence.isprintable()
        sentence.encode()  # no half of a character, which could not be printed
    model = build(heads=["a\x1b[2J", "b"], atomic_energies=np.zeros((2, 3)), atomic_inter_scale=np.ones(2))
    model.scale_shift.shift = torch.zeros(2).double()
    assert "names that no model has" in refusal(save(model, tmp_path / "heads.model"))


TENSORS = {
    "more than its storage": tensor("0", 0, (5,), (1,)),
    "an offset beyond": tensor("0", 4, (1,), (1,)),
    "a stride beyond": tensor("0", 0, (2, 2), (3, 1)),
    "a stride to before": tensor("0", 3, (2,), (-1,)),
    "a negative length": tensor("0", 0, (-4,), (1,)),
    "a negative offset": tensor("0", -1, (1,), (1,)),
    "a billion from one": tensor("0", 0, (10**9,), (0,)),
    "other axes than strides": tensor("0", 0, (2, 2), (1,)),
    "lengths that overflow": tensor("0", 0, (2**40, 2**40), (0, 0)),
    "lengths that overflow to nothing": tensor("0", 0, (2**40, 2**40, 0), (0, 0, 0)),
    "numbers the file has not": tensor("0", 0, (8,), (1,), numel=8),
    "another kind of number": tensor("0", 0, (4,), (1,), "FloatStorage"),
    "complex numbers": tensor("0", 0, (2,), (1,), "ComplexDoubleStorage", 2),
    "a storage that is not there": tensor("1", 0, (4,), (1,)),
    "a storage elsewhere": tensor("../data.pkl", 0, (4,), (1,)),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_beyond_its_storage_is_not_made(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, archive(module("ScaleShiftMACE", {"r_max": TENSORS[kind]}), {"0": np.ones(4).tobytes()}))
    with nothing_runs():
        assert "`r_max`" in refusal(path)


def test_the_same_tensor_within_its_storage_is_read(tmp_path: Path) -> None:
    shape = module("ScaleShiftMACE", {"r_max": tensor("0", 0, (2, 2), (2, 1))})
    path = written(tmp_path, archive(shape, {"0": np.ones(4).tobytes()}))
    assert "`num_interactions` is missing" in refusal(path)  # so r_max was no problem


def zip_of(entries: dict[str, bytes], **options: Any) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return stream.getvalue()


def archives(good: bytes) -> dict[str, tuple[bytes, str]]:
    """Files that are no undamaged archive of torch, and a word of the sentence each must get."""
    directory = bytearray(zip_of({"a/data.pkl": b"N."}))
    directory[-12:-10] = b"\xff\xff"  # entries
    directory[-10:-6] = b"\xff\xff\xff\x7f"  # bytes of the directory
    twice = BytesIO()
    with zipfile.ZipFile(twice, "w") as file, pytest.warns(UserWarning):
        file.writestr("a/data.pkl", b"N.")
        file.writestr("a/data.pkl", b"N.")
    return {
        "nothing": (b"", "empty"),
        "a text": (b"3\nProperties=species:S:1:pos:R:3\nO 0 0 0\n", "does not begin"),
        "a web page": (b"\n<!DOCTYPE html><html>", "web page"),
        "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        "a bare pickle": (pickled(Call(os.system, "true")), "bare pickle"),
        "an old file of torch": (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02", "before 2020"),
        "a gzip": (b"\x1f\x8b\x08" + b"0" * 100, "gzip"),
        "safetensors": (struct.pack("<Q", 20) + b'{"__metadata__":{} }' + b"0" * 9, "safetensors"),
        "cut in the middle": (good[: len(good) // 2], "cut off"),
        "cut at the end": (good[:-7], "cut off"),
        "a bit turned": (good[:900] + bytes([good[900] ^ 1]) + good[901:], "damaged"),
        "compressed": (zip_of({"a/data.pkl": b"\0" * 10**7}, compression=zipfile.ZIP_DEFLATED), "compressed"),
        "a zip around it": (zip_of({"good.model": good}), "unpack it"),
        "a zip in a folder": (zip_of({"a/good.model": good, "a/readme": b""}), "unpack it"),
        "outside": (zip_of({"a/data.pkl": b"N.", "../../etc/x": b""}), "refused"),
        "twice": (twice.getvalue(), "twice"),
        "a huge directory": (bytes(directory), "refused"),
        "compiled code": (zip_of({"a/data.pkl": b"N.", "a/constants.pkl": b"N.", "a/code/x.py": b""}), "TorchScript"),
    }


def test_files_that_are_something_else_are_called_what_they_are(good: Path, tmp_path: Path) -> None:
    found = archives(good.read_bytes())
    for name, (data, word) in found.items():
        path = written(tmp_path, data)
        with nothing_runs():
            sentence = refusal(path)
        assert word in sentence, (name, sentence)


@pytest.fixture(scope="module")
def command_line(good: Path) -> Callable[..., int]:
    """The commands that read a ``.model``, once everything they import has been."""
    assert main(["inspect", str(good)]) == 0
    assert main(["export", str(good), "-o", str(good.with_suffix(".txt"))]) == 2
    return main


@pytest.mark.parametrize("command", ["inspect", "export"])
def test_on_the_command_line_nothing_of_a_hostile_file_runs_and_one_line_says_why(
    command: str,
    command_line: Callable[..., int],
    good: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentinel, output = tmp_path / "was here", tmp_path / "model.pt"
    files = {f"trap: {kind}": archive(data) for kind, data in traps(sentinel).items()}
    files |= {f"bomb: {kind}": archive(data) for kind, data in bombs().items()}
    files |= {f"archive: {kind}": data for kind, (data, _) in archives(good.read_bytes()).items()}
    for kind, data in files.items():
        path = written(tmp_path, data)
        arguments = [command, str(path), *(["-o", str(output)] if command == "export" else [])]
        with nothing_runs():
            assert command_line(arguments) == 2, kind
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1 and path.name in printed.err, (kind, printed.err)
    assert not sentinel.exists() and not output.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"trap.model"}


def test_a_command_in_a_process_of_its_own_touches_nothing_and_calls_nobody(tmp_path: Path) -> None:
    """Canaries instead of a hook: a file that would be written, and a port that would be called."""
    sentinel = tmp_path / "was here"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        calls = [
            Call(os.system, f"touch '{sentinel}'"),
            Call(open, str(sentinel), "w"),
            Call(socket.create_connection, ("127.0.0.1", port)),
        ]
        path = written(tmp_path, archive(pickled(calls)))
        done = subprocess.run(
            [sys.executable, "-m", "mace_app", "export", str(path), "-o", str(tmp_path / "model.pt")],
            capture_output=True,
            text=True,
            check=False,
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr and path.name in done.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["trap.model"]


def test_weights_without_a_model_and_folders_and_huge_files_are_refused(good: Path, tmp_path: Path) -> None:
    model = build()
    assert "weights without a model" in refusal(save(model.state_dict(), tmp_path / "a.model"))
    assert "weights without a model" in refusal(save({"model": model.state_dict(), "epoch": 3}, tmp_path / "b.model"))
    (tmp_path / "folder.model").mkdir()
    assert "folder" in refusal(tmp_path / "folder.model")
    with (tmp_path / "huge.model").open("wb") as stream:
        stream.write(b"PK\x03\x04")
        stream.truncate(2**40)  # a hole: takes no space
    assert "GiB" in refusal(tmp_path / "huge.model")
    os.mkfifo(tmp_path / "pipe.model")
    assert "no ordinary file" in refusal(tmp_path / "pipe.model")


def test_random_damage_is_refused_in_a_sentence_or_makes_no_difference(good: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(11)
    whole = good.read_bytes()
    refused = 0
    for attempt in range(200):
        damaged: bytes

        def change(description: bytes) -> bytes:
            data = bytearray(description)
            for place in generator.integers(0, len(data), generator.choice([1, 2, 20])):
                data[place] = generator.integers(0, 256)
            return bytes(data)

        if attempt % 4:
            damaged = changed_description(good, change)
        else:
            damaged = change(whole)[: generator.integers(0, len(whole))]
        path = written(tmp_path, damaged)
        try:
            with nothing_runs():
                open_foundation(path)
        except FoundationError as error:
            refused += path.name in str(error)
    assert refused > 150


def test_numbers_that_ask_for_a_giant_model_are_refused_before_it_is_made(tmp_path: Path) -> None:
    model = build()
    for interaction in model.interactions:
        interaction.radial_MLP = [60_000, 60_000]  # 29 GB of weights, of which the file has none
    assert "far larger than the weights it holds" in refusal(save(model, tmp_path / "giant.model"))
