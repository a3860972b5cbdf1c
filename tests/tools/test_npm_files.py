"""npm's packages: those of the lock file, or none; installed once; and none of their scripts is run."""

import base64
import hashlib
import io
import json
import sys
import tarfile

import pytest

from tools.npm_files import copy_files, installed


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """A package that is a file here, so that no network is needed; it would run a script when it is installed."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    script = {"postinstall": "node -e \"require('fs').mkdirSync('ran')\""}
    about = {"name": "one", "version": "1.0.0", "scripts": script}
    with tarfile.open(tmp_path / "one.tgz", "w:gz") as archive:
        for name, text in (("package.json", json.dumps(about)), ("dist/deep/one.js", "1"), ("dist/two.js", "2")):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return locked(tmp_path, (tmp_path / "one.tgz").as_uri(), (tmp_path / "one.tgz").read_bytes())


def locked(folder, resolved, content):
    """package.json and package-lock.json for a package of this content."""
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    wanted = {"dependencies": {"one": resolved if resolved.startswith("file:") else "1.0.0"}}
    entry = {"version": "1.0.0", "integrity": f"sha512-{found}", "resolved": resolved, "hasInstallScript": True}
    lock = {"lockfileVersion": 3, "requires": True, "packages": {"": wanted, "node_modules/one": entry}}
    (folder / "package.json").write_text(json.dumps(wanted), encoding="utf-8")
    (folder / "package-lock.json").write_text(json.dumps(lock), encoding="utf-8")
    return folder


def kept(folder):
    return [path.name for path in (folder / "environment/share/shared-weights").iterdir() if path.suffix != ".lock"]


def test_a_package_is_installed_once_and_runs_nothing(lists):
    found = installed(lists)
    assert (found / "one/dist/two.js").read_text(encoding="utf-8") == "2"
    assert not (found / "one/ran").exists()
    (lists / "one.tgz").unlink()
    assert installed(lists) == found
    assert kept(lists) == [found.name]


def test_another_file_than_the_one_that_was_locked_is_refused(lists):
    locked(lists, (lists / "one.tgz").as_uri(), b"another")
    with pytest.raises(RuntimeError, match="EINTEGRITY"):
        installed(lists)
    assert kept(lists) == []


def test_without_a_network_it_says_so(lists, monkeypatch):
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    locked(lists, "http://127.0.0.1:9/one.tgz", b"")
    with pytest.raises(RuntimeError, match=r"(?s)could not install .*; a network is needed, once\..*127\.0\.0\.1:9"):
        installed(lists)
    assert kept(lists) == []


def test_files_keep_their_folders(lists):
    copy_files(installed(lists) / "one/dist", ["deep/*.js"], lists / "copied")
    assert [path.relative_to(lists).as_posix() for path in (lists / "copied").rglob("*.js")] == ["copied/deep/one.js"]
