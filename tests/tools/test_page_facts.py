"""Dates from git; and what is left out of style sheets."""

import os
import subprocess

import pytest
from light_pages import purged
from page_facts import dates_of


def commit(folder, name, day):
    (folder / name).write_text(day, encoding="utf-8")
    who = ["-c", "user.name=N", "-c", "user.email=n@example.org"]
    environment = os.environ | {"GIT_AUTHOR_DATE": f"{day}T12:00:00Z", "GIT_COMMITTER_DATE": f"{day}T12:00:00Z"}
    subprocess.run(["git", "add", name], cwd=folder, check=True)
    subprocess.run(["git", *who, "commit", "-qm", day], cwd=folder, env=environment, check=True)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "book").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for name, day in (("book/a.md", "2020-01-01"), ("book/b.md", "2020-02-02"), ("book/a.md", "2020-03-03")):
        commit(folder, name, day)
    return folder


def test_a_page_has_the_day_of_its_last_commit(repository):
    assert dates_of(repository) == {"book/a.md": "2020-03-03", "book/b.md": "2020-02-02"}


def test_without_history_there_are_no_dates(repository, tmp_path, monkeypatch):
    assert dates_of(tmp_path) == {}
    shallow = tmp_path / "shallow"
    command = ["git", "clone", "-q", "--depth", "1", repository.as_uri(), str(shallow)]
    subprocess.run(command, check=True, capture_output=True)
    assert dates_of(shallow) == {}
    monkeypatch.setenv("PATH", "")
    assert dates_of(repository) == {}


def test_rules_stay_if_a_page_may_need_them():
    sheet = """@charset "utf-8"; a, .gone > b, .here:hover { color: red } #gone { top: 0 } .here:not(.gone) { top: 1px }
    @media (min-width: 3em) { .gone { top: 2px } .sm\\:here { top: 3px } } @media print { .gone { top: 4px } }
    @font-face { font-family: "Font Awesome 6"; src: url(x) } .here:is(.gone, .other) { top: 5px }"""
    text = purged(sheet, {"a", "b", "here", "sm:here"})
    for kept in ("a,.here:hover{color: red}", ".here:not(.gone){top: 1px}", "top: 3px", "top: 5px", "@charset"):
        assert kept in text
    for dropped in ("#gone", ".gone >", "top: 2px", "print", "Awesome"):
        assert dropped not in text
