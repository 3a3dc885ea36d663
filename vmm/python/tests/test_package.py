"""The package as a whole: its names, its types, and the examples that are shown."""

import ast
import contextlib
import inspect
import io
import re
import runpy
from pathlib import Path

import crosswalk_mmu as mmu
from crosswalk_mmu import _native

ROOT = Path(__file__).parents[3]
STUB = Path(mmu.__file__).with_name("_native.pyi")


def test_the_types_have_every_name():
    stub = ast.parse(STUB.read_text())
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    for name in mmu.__all__:
        thing = getattr(mmu, name)
        assert name in classes or name in functions, name
        if name in functions:
            # The arguments are those that the function shows.
            arguments = functions[name].args
            stated = [argument.arg for argument in arguments.args + arguments.kwonlyargs]
            assert stated == list(inspect.signature(thing).parameters), name
        elif not issubclass(thing, BaseException):
            stated = {node.name for node in classes[name].body if isinstance(node, ast.FunctionDef)}
            found = {member for member in vars(thing) if not member.startswith("_")}
            assert found == {member for member in stated if not member.startswith("_")}, name
    native = {name for name in vars(_native) if not name.startswith("_")}
    assert native == set(mmu.__all__)
    assert STUB.with_name("py.typed").exists()


def test_every_class_and_function_is_documented():
    for name in mmu.__all__:
        assert getattr(mmu, name).__doc__, name


def run(function):
    """What it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        function()
    return output.getvalue()


def test_the_example_in_the_readme_is_right():
    readme = (ROOT / "vmm/python/README.md").read_text()
    source, expected = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", readme, re.S).groups()
    assert run(lambda: exec(source, {})) == expected


def test_the_guide_shows_what_is_so():
    page = (ROOT / "docs/guide/src/python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```\n+(?:```text\n(.*?)```)?", page, re.S)
    names = {}
    for source, expected in blocks:
        assert run(lambda: exec(source, names)) == expected, source
    assert len(blocks) > 4


def test_the_tour_runs(monkeypatch, raw_image):
    script = ROOT / "docs/examples/explore.py"
    monkeypatch.setattr("sys.argv", [str(script)])
    output = run(lambda: runpy.run_path(str(script)))
    for words in [
        "PTE    at",
        "physical 0x10123, a page of 4096 bytes",
        "ring 3  kernel   #PF(P|U)     #PF(P|W|U)   #PF(P|U|I)",
        "#PF(U) at 0x400123: bits [0]",
        "by ('OUT-1', ",
    ]:
        assert words in output, output
