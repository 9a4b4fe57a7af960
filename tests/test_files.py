"""Files and folders are the old or the new, whoever is killed while they are written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from doors import ROOT

from smstune import files
from smstune.errors import UserError
from smstune.files import (
    file_written_whole,
    folder_written_whole,
    put_in_place,
    refuse_to_overwrite,
    temporary_folder,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from smstune.files import file_written_whole, folder_written_whole, temporary_folder
target = Path(sys.argv[2])
written = {
    "file": lambda: file_written_whole(target),
    "folder": lambda: folder_written_whole(target),
    "temporary": temporary_folder,
}
with written[sys.argv[1]]() as path:
    (path if sys.argv[1] == "file" else path / "part").write_text("a message")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(kind, target):
    if kind == "folder":
        with folder_written_whole(target) as folder:
            (folder / "part").write_text("whole")
    elif kind == "temporary":
        with temporary_folder() as folder:
            (folder / "part").write_text("whole")
    else:
        with file_written_whole(target) as path:
            path.write_text("whole")


@pytest.mark.parametrize("kind", ["file", "folder", "temporary"])
def test_the_next_start_removes_what_a_killed_one_left(tmp_path, kind, monkeypatch):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "train"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", KILLED, kind, str(tmp_path / "out")]
    subprocess.run(command, env=environment, check=False)
    assert len(names(tmp_path)) == 1
    # A killed process leaves messages: nobody else may read them until they are removed.
    (leftover,) = tmp_path.iterdir()
    assert stat.S_IMODE(leftover.stat().st_mode) == 0o700
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write(kind, tmp_path / "out")
    assert names(tmp_path) == ([] if kind == "temporary" else ["out"])


@pytest.mark.timeout(30)
def test_a_pipe_that_is_called_as_a_leftover_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".out-x.smstune-tmp")
    write("file", tmp_path / "out")
    assert names(tmp_path) == [".out-x.smstune-tmp", "out"]


def test_scratch_that_another_process_takes_for_a_leftover_is_made_anew(tmp_path, monkeypatch):
    made = []

    def make(**how):
        made.append(tempfile.mkdtemp(**how))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(files, "mkdtemp", make)
    write("file", tmp_path / "out")
    assert len(made) == 2
    assert names(tmp_path) == ["out"]


def test_leftovers_go_also_where_the_output_is_there_already(tmp_path):
    write("folder", tmp_path / "out")
    (tmp_path / ".out-x.smstune-tmp/new").mkdir(parents=True)
    with pytest.raises(UserError, match="with content"):
        write("folder", tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_what_another_writer_is_at_is_no_leftover(tmp_path):
    with file_written_whole(tmp_path / "out") as first:
        first.write_text("first")
        write("file", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "first"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask_whatever_library_wrote(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with folder_written_whole(tmp_path / "folder") as folder:
            for name, own in (("shy", 0o600), ("open", 0o666)):
                (folder / name).write_text("x")
                (folder / name).chmod(own)
        with file_written_whole(tmp_path / "file") as path:
            path.write_text("x")
            path.chmod(0o600)
    finally:
        os.umask(before)
    written = (tmp_path / "folder/shy", tmp_path / "folder/open", tmp_path / "file")
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {mode}
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_is_followed(tmp_path, kind):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/real")
    write(kind, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    written = tmp_path / "there/real"
    assert (written / "part" if kind == "folder" else written).read_text() == "whole"
    assert names(tmp_path / "there") == ["real"]


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    write("file", tmp_path / "pipe")
    reader.join(10)
    assert received == ["whole"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_contents_are_on_the_disk_before_their_name(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd))
    )
    monkeypatch.setattr(
        os, "replace", lambda *paths, **more: (done.append("named"), replace(*paths, **more))
    )
    monkeypatch.setattr(
        os, "rename", lambda *paths, **more: (done.append("named"), replace(*paths, **more))
    )
    (tmp_path / "scratch/inner").mkdir(parents=True)
    (tmp_path / "scratch/inner/file").write_text("x")
    put_in_place(tmp_path / "scratch", tmp_path / "out")
    before, after = done[: done.index("named")], done[done.index("named") + 1 :]
    assert [path.removeprefix(str(tmp_path)) for path in before] == [
        "/scratch/inner/file",
        "/scratch/inner",
        "/scratch",
    ]
    assert after == [str(tmp_path)]


def test_a_folder_with_content_is_refused_through_a_link_too(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thing").touch()
    (tmp_path / "link").symlink_to("full")
    with pytest.raises(UserError, match="with content"):
        write("folder", tmp_path / "link")


@pytest.mark.parametrize("link", ["", "symbolic", "hard", "of the folder"])
def test_an_output_that_is_its_own_input_is_refused_through_links_too(tmp_path, link):
    source = tmp_path / "there/in.csv"
    source.parent.mkdir()
    source.write_text("text\n")
    output = source if not link else tmp_path / "out.csv"
    if link == "symbolic":
        output.symlink_to(source)
    elif link == "hard":
        output.hardlink_to(source)
    elif link:
        (tmp_path / "link").symlink_to("there")
        output = tmp_path / "link/in.csv"
    with pytest.raises(UserError, match="is the input itself"):
        refuse_to_overwrite(output, [source], overwrite=True)


def test_an_output_that_exists_is_refused_unless_it_has_nothing_to_lose(tmp_path):
    write("file", tmp_path / "file")
    write("folder", tmp_path / "folder")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / ".file-x.smstune-tmp/new").mkdir(parents=True)
    for name in ("file", "folder", "link"):
        with pytest.raises(UserError, match="--overwrite"):
            refuse_to_overwrite(tmp_path / name, [], overwrite=False)
        refuse_to_overwrite(tmp_path / name, [], overwrite=True)
    # What a kill right after the rename left.
    assert names(tmp_path) == ["file", "folder", "link"]
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("empty", "pipe", "dangling", "new"):
        refuse_to_overwrite(tmp_path / name, [], overwrite=False)


def test_a_folder_is_overwritten_as_a_whole_and_only_at_the_end(tmp_path):
    target = tmp_path / "out"
    write("folder", target)
    (target / "other").touch()
    (tmp_path / "link").symlink_to("out")
    with folder_written_whole(tmp_path / "link", overwrite=True) as folder:
        (folder / "new").touch()
        assert names(target) == ["other", "part"]
    assert names(target) == ["new"]
    with pytest.raises(ZeroDivisionError), folder_written_whole(target, overwrite=True):
        _ = 1 / 0
    assert names(target) == ["new"]
    assert names(tmp_path) == ["link", "out"]


def test_a_file_is_no_folder_to_be_overwritten(tmp_path):
    write("file", tmp_path / "out")
    with (
        pytest.raises(UserError, match="empty folder"),
        folder_written_whole(tmp_path / "out", overwrite=True),
    ):
        pass
    assert (tmp_path / "out").read_text() == "whole"


def test_files_and_folders_are_written_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_OPENS_FOLDERS", False)
    real_open = os.open

    def open_as_windows(path, flags, *arguments, **by_rmtree):
        if by_rmtree:
            return real_open(path, flags, *arguments, **by_rmtree)
        if os.path.isdir(path):
            raise PermissionError(path)
        assert flags & (os.O_RDWR | os.O_WRONLY)
        return real_open(path, flags, *arguments)

    monkeypatch.setattr(os, "open", open_as_windows)
    with file_written_whole(tmp_path / "file") as path:
        path.write_text("new", "utf-8")
    with folder_written_whole(tmp_path / "folder") as path:
        (path / "part").write_text("new", "utf-8")
    monkeypatch.undo()
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "folder/part").read_text("utf-8") == "new"
