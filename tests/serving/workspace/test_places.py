"""Which folders the server reads: every job and every path of the database asks the same function."""

from __future__ import annotations

import inspect
import os
import shutil
import typing
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import KINDS
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace import access, places
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def server(tmp_path, monkeypatch) -> Settings:
    """A server's folders, a source beside them, and what lies outside of all."""
    settings = Settings(*(tmp_path / name for name in ("models", "runs", "data", "workspace")))
    for name in ("models/m", "runs/r", "data/d", "workspace/evaluations", "source/scans", "outside/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "source" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "source" / "loop").symlink_to(tmp_path / "source" / "loop")
    monkeypatch.setenv("LUNGVAE_SOURCES", str(tmp_path / "source"))
    return settings


OUTSIDE = [
    *(
        "",
        "/",
        "/etc",
        "/root",
        "relative",
        "..",
        "~root",
        "\0",
        "/etc\0",
        "{base}/outside",
        "{base}/outside/x",
    ),
    *(
        "{base}/source/../outside/x",
        "{base}/source/link",
        "{base}/source/link/x",
        "{base}/source/loop",
        "/" + "x" * 5000,
    ),
    *("{base}/source", "{base}/runs", "\ud800", "{base}/sourcery", "file:///etc", "/proc/self/root/etc"),
]


NAMED = [places.source, places.source_file]  # what a person names: a folder of scans, a table


@pytest.mark.parametrize("read", NAMED)
@pytest.mark.parametrize("text", OUTSIDE)
def test_what_lies_outside_is_no_source(server, tmp_path, text, read):
    with pytest.raises(UserError) as refused:
        read(server, text.replace("{base}", str(tmp_path)))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("read", NAMED)
def test_it_is_not_said_whether_something_outside_is_there(server, tmp_path, read):
    (tmp_path / "outside.csv").write_text("x")
    sentences = set()
    for name in ("outside", "outside.csv", "nothing"):
        with pytest.raises(UserError) as refused:
            read(server, tmp_path / name)
        sentences.add(str(refused.value).replace(str(tmp_path / name), ""))
    assert len(sentences) == 1


def test_a_table_is_read_where_it_is_a_file_below_a_source(server, tmp_path):
    table = tmp_path / "source" / "scans" / "diagnosis.csv"
    for refused in (table, table.parent):  # it is not there; it is a folder
        with pytest.raises(UserError, match="There is no file"):
            places.source_file(server, refused)
    table.write_text("x")
    assert places.source_file(server, table) == table.resolve()
    os.mkfifo(tmp_path / "source" / "pipe")  # whoever read from it would wait for ever
    with pytest.raises(UserError, match="There is no file"):
        places.source_file(server, tmp_path / "source" / "pipe")


def test_sources_and_data_are_read(server, tmp_path):
    assert places.source(server, tmp_path / "source" / "scans") == (tmp_path / "source" / "scans").resolve()
    assert places.source(server, tmp_path / "data" / "d") == (tmp_path / "data" / "d").resolve()
    with pytest.raises(UserError, match="There is no folder"):
        places.source(server, tmp_path / "source" / "gone")


@pytest.mark.parametrize(("local", "home"), [(True, True), (False, False)])
def test_without_the_setting_the_home_folder_is_read_on_a_local_server_only(server, monkeypatch, local, home):
    monkeypatch.delenv("LUNGVAE_SOURCES")
    monkeypatch.setattr(access.Access, "local_only", local)
    assert (Path.home().resolve() in places.sources(server)) == home
    monkeypatch.setenv("LUNGVAE_SOURCES", "")
    assert places.sources(server) == [server.data.resolve()]
    monkeypatch.setenv("LUNGVAE_SOURCES", os.pathsep.join(["/a", "relative", "/b"]))
    assert places.sources(server)[1:] == [Path("/a"), Path("/b")]


@pytest.mark.parametrize("kind", ["models/m", "runs/r", "data/d", "workspace/evaluations"])
def test_paths_of_the_servers_own_come_back(server, tmp_path, kind):
    assert places.stored(server, tmp_path / kind) == kind
    assert places.opened(server, kind) == (tmp_path / kind).resolve()
    assert places.opened(server, str(tmp_path / kind)) == (tmp_path / kind).resolve()  # of earlier versions


@pytest.mark.parametrize(
    "text",
    [*OUTSIDE, "runs", "runs/", "runs/..", "runs/../../outside", "runs/link/x", "runs//etc", "etc/passwd"],
)
def test_other_paths_of_a_database_are_refused(server, tmp_path, text):
    with pytest.raises(UserError):
        places.opened(server, text.replace("{base}", str(tmp_path)))


def starts() -> list[tuple[str, str]]:
    """(kind, parameter) of everything that starts a job and takes a path."""
    found = []
    for name, kind in KINDS.items():
        hints = typing.get_type_hints(kind.of)
        found += [(name, parameter) for parameter, hint in hints.items() if "Path" in str(hint)]
    return found


@pytest.mark.parametrize(("kind", "parameter"), starts())
def test_no_job_starts_on_a_folder_outside(server, tmp_path, tiny_data, monkeypatch, kind, parameter):
    """All else is whole and in its place, so that nothing but this place can be what is refused."""
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: pytest.fail("it was started"))
    shutil.copytree(tiny_data, server.data / "whole")
    given = {
        "preset": "gvae",
        "changes": {},
        "space": "gvae",
        "unit": "slice",
        "method": "pca",
        "dims": 2,
        "parameters": {},
        "data": server.data / "whole",
        parameter: tiny_data,
    }
    wanted = inspect.signature(KINDS[kind].of).parameters
    with pytest.raises(UserError, match=r"outside this server's folders|not below a folder"):
        Jobs(server).start(KINDS[kind].of, "new", **{name: given[name] for name in wanted if name in given})
    assert Jobs(server).all() == []


def test_all_that_takes_a_path_is_tried():
    assert {parameter for _, parameter in starts()} == {"data", "nested", "diagnoses", "folder", "run"}
