"""The guard of the instruction counts detects a rise. (The counts themselves are `./test guard`.)"""

import importlib.util
import json
import sys

import pytest
from fanfare import ROOT


@pytest.fixture
def guard(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("guard", ROOT / "bench" / "guard" / "guard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(module, "build", lambda: "this build")
    monkeypatch.setattr(sys, "argv", ["guard.py"])
    return module


@pytest.mark.parametrize(("counts", "code", "said"), [
    ({"a": [102], "b": [90]}, 0, "2 passed, 0 failed"),
    ({"a": [100], "b": [104, 101]}, 0, "2 passed, 0 failed"),  # a single high count is no rise
    ({"a": [100], "b": [104, 104]}, 1, "b needs more instructions than 3% above the baseline"),
    ({"a": [100], "c": [1000]}, 0, "2 passed, 0 failed"),  # a new count has no baseline
])
def test_a_rise_of_three_percent_fails_and_is_named(guard, capsys, monkeypatch, counts, code, said):
    guard.BASELINE.write_text(json.dumps({"this build": {"a": 100, "b": 100}}))
    monkeypatch.setattr(guard, "SCENARIOS", {name: iter(found).__next__ for name, found in counts.items()})
    assert guard.main() == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_another_compiler_has_no_baseline_until_one_is_written(guard, capsys, monkeypatch):
    guard.BASELINE.write_text(json.dumps({"another build": {"a": 1}}))
    monkeypatch.setattr(guard, "SCENARIOS", {"a": lambda: 100.4})
    assert guard.main() == 0
    assert "there is no baseline for this build" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["guard.py", "--write"])
    assert guard.main() == 0
    assert json.loads(guard.BASELINE.read_text()) == {"another build": {"a": 1}, "this build": {"a": 100}}
