"""A measurement that was cut short goes on where it stopped."""

import json

import pytest

from benchmarks.resumable import measure


def test_an_interrupted_measurement_goes_on(tmp_path):
    path, ran = tmp_path / "results.json", []

    def job(name):
        def run():
            ran.append(name)
            if name == "b" and ran.count("b") == 1:
                raise KeyboardInterrupt
            return {"value": name}

        return run

    jobs = {name: job(name) for name in "abc"}
    with pytest.raises(KeyboardInterrupt):
        measure(path, jobs, steps=3)
    assert json.loads(path.read_text(encoding="utf-8")) == {"about": {"steps": 3}, "results": {"a": {"value": "a"}}}
    assert list(measure(path, jobs, steps=3)) == ["a", "b", "c"]
    assert ran == ["a", "b", "b", "c"]
    with pytest.raises(ValueError, match="other settings"):
        measure(path, jobs, steps=4)
    measure(path, {"a": jobs["a"]}, fresh=True, steps=4)
    assert json.loads(path.read_text(encoding="utf-8"))["about"] == {"steps": 4}
