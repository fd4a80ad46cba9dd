"""File systems of a test's own, in files: to be filled, or cut off as when the power goes.

	from disks import image  # noqa: F401

	def test_something(make_postern, image):
	    disk = image("ext4", 64 << 20)
	    postern = make_postern(mail=disk.path / "mail")
	    disk.fill()
	    …
	    disk.empty()
"""

import ctypes
import errno
import fcntl
import functools
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

from postern import wait_for

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
WITHOUT_THE_LOG = 2
XFS_LEAST = 320 << 20
CLONE_NEWNS = 0x00020000


@functools.cache
def hide_mounts():
    """What this process and its children mount from now on no other process sees, and so none can
    keep it mounted by having a copy of it in a mount namespace of its own. OSError where that isn't
    allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


class Image:
    """A file system in a file, mounted at `path`."""

    def __init__(self, kind, size, number):
        self.kind = kind
        self.path = pathlib.Path(f"/tmp/postern-image-{os.getpid()}-{number}")
        self.file = self.path.with_suffix(".img")
        self.mounted = False
        self.path.mkdir()
        with open(self.file, "wb") as image:
            image.truncate(max(size, XFS_LEAST) if kind == "xfs" else size)
        # No blocks that only root may use.
        options = ["-m", "0"] if kind == "ext4" else []
        for words in ((f"mkfs.{kind}", "-q", *options, self.file), self.mounting()):
            if shutil.which(words[0]) is None:
                self.skip(f"{words[0]} isn't installed")
            result = self.run(*words)
            if result.returncode != 0:
                self.skip(f"{words[0]}: {result.stderr.strip()}")
        self.mounted = True

    def skip(self, why):
        self.remove()
        pytest.skip(why)

    def mounting(self):
        return "mount", "-o", "loop", self.file, self.path

    @staticmethod
    def run(*words):
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False)

    def fill(self):
        """Takes all the space that is left, to the last block."""
        descriptor = os.open(self.path / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            at, size = os.fstat(descriptor).st_size, 1 << 28
            while size >= 1024:
                try:
                    os.posix_fallocate(descriptor, at, size)
                    at += size
                except OSError as why:
                    assert why.errno == errno.ENOSPC
                    size //= 2
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def empty(self):
        """Gives back what fill() took."""
        (self.path / "filler").unlink()

    def cut(self):
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, SHUTDOWN, struct.pack("<I", WITHOUT_THE_LOG))
        finally:
            os.close(directory)

    def remount(self):
        def unmount():
            return subprocess.run(["umount", self.path], capture_output=True,
                check=False).returncode == 0
        wait_for(unmount, 10, "nobody uses the file system any more")
        self.mounted = False
        result = self.run(*self.mounting())
        assert result.returncode == 0, f"mount after the cut: {result.stderr.strip()}"
        self.mounted = True

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], check=True)
        self.path.rmdir()
        self.file.unlink()


@pytest.fixture
def image():
    """A function that makes an Image of a kind ("ext4", "xfs") and at least a size; all are removed after
    the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        hide_mounts()
    except OSError as why:
        pytest.skip(str(why))
    made = []

    def make(kind, size=512 << 20):
        made.append(Image(kind, size, len(made)))
        return made[-1]
    yield make
    for one in made:
        one.remove()
