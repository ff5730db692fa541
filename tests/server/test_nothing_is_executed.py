"""No line of the package can execute what a stranger's file says: unpickling, evaluating, a shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "app.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "mace_app").rglob("*.py")]
# Modules whose readers execute what they read, or are nothing but that.
FORBIDDEN_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "runpy",
    "code",
}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "pandas.read_pickle",
    "pd.read_pickle",
    "torch.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "torch.serialization.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
# An exported model is code too. It is loaded only in the process that checks the file that a run has just written, and
# by the worker of an analysis, if it is a file of this workspace with the checksum that its export has reported.
MODEL_LOADERS = ("torch.jit.load", "load_atomistic_model", "MetatomicCalculator", "MACECalculator", "mace_mp")
# Processes of this program that speak with each other through pipes, which nobody else can write into.
OWN_PIPES_ONLY = {"mace_app/data/crew.py": {"process.stdout", "requests"}}
OWN_FILES_ONLY = {
    "mace_app/export/exported.py",
    "mace_app/export/fresh_mace.py",
    "mace_app/export/fresh_process.py",
}


def offences(source: str) -> Iterator[str]:
    """What a source does that it must not, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in FORBIDDEN_MODULES:
                    yield f"{node.lineno}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in FORBIDDEN_MODULES:
                yield f"{node.lineno}: from {module}"
            for alias in node.names:
                if f"{module}.{alias.name}" in FORBIDDEN_CALLS:
                    yield f"{node.lineno}: from {module} import {alias.name}"
        elif isinstance(node, ast.Call):
            yield from _call(node)


def _call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    options = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in FORBIDDEN_CALLS:
        yield f"{node.lineno}: {name}"
    if "allow_pickle" in options and not _is(options["allow_pickle"], False):
        yield f"{node.lineno}: {name}(allow_pickle=…)"
    if "shell" in options and not _is(options["shell"], False):
        yield f"{node.lineno}: {name}(shell=…)"
    if "weights_only" in options and not _is(options["weights_only"], True):
        yield f"{node.lineno}: {name}(weights_only=…)"
    if name == "yaml.load" and not ast.unparse(options.get("Loader", ast.Constant(None))).endswith("Loader"):
        yield f"{node.lineno}: yaml.load without a safe loader"
    if name.endswith((".to_pickle", ".read_pickle")):
        yield f"{node.lineno}: {name}"


def _is(node: ast.expr, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_source_can_execute_a_file() -> None:
    found = {str(path.relative_to(ROOT)): list(offences(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert len(found) > 100
    assert {path: offences for path, offences in found.items() if offences} == {
        path: [offence] for path in OWN_PIPES_ONLY for offence in found[path] if offence.endswith("import pickle")
    }


@pytest.mark.parametrize("path", OWN_PIPES_ONLY)
def test_what_is_unpickled_comes_from_a_pipe_of_our_own(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "pickle." in ast.unparse(node.func)]
    read = [call for call in calls if "dump" not in ast.unparse(call.func)]
    assert read and {ast.unparse(call.args[0]) for call in read} <= OWN_PIPES_ONLY[path]
    assert {ast.unparse(call.func) for call in calls} <= {"pickle.load", "pickle.dump"}
    source = ast.unparse(tree)
    assert "stdout=subprocess.PIPE" in source and "requests = sys.stdin.buffer" in source


def test_models_are_loaded_only_where_a_run_checks_its_own() -> None:
    loading = set()
    for path in SOURCES:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        if any(ast.unparse(call.func).endswith(MODEL_LOADERS) for call in calls):
            loading.add(str(path.relative_to(ROOT)))
    assert loading == OWN_FILES_ONLY


def test_the_loader_of_yaml_is_a_safe_one() -> None:
    import yaml

    from mace_app.options import yaml_files

    assert issubclass(yaml_files._Loader, yaml.SafeLoader)
    tag = "!!python/object/apply:os.system ['true']"
    with pytest.raises(yaml.YAMLError):
        yaml_files._Loader(tag).get_single_data()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import dill as safe",
        "from torch import load",
        "torch.load('a.pt')",
        "torch.load('a.pt', weights_only=True)",
        "read(f, weights_only=False)",
        "np.load('a.npz', allow_pickle=True)",
        "np.load('a.npz', allow_pickle=flag)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Whatever)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "frame.to_pickle('a')",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert len(list(offences(source))) >= 1
