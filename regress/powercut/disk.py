"""Disks to be cut: one image file with one file system or two in it, pictures of which are taken while
they are in use.

The image lies on an XFS of its own, itself in a file, where a file can be cloned (FICLONE): in a few
milliseconds, and atomically, since a clone shuts out all writes to its source. Everything that the
file systems in the image had written by then is in the picture, and nothing of what was still in
their page cache or not yet committed to their journals: what a disk holds when the power goes.

Where there are two file systems they are two partitions of that one image, each under a loop device of
its own. So a picture has both as of the same instant, with no need to stop anything or to
argue why two pictures taken one after the other would go together.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

from disks import SHUTDOWN, WITHOUT_THE_LOG

MIB = 1 << 20
PARTITION = 512 * MIB  # XFS wants 300 at least
FICLONE = 0x40049409
SECTOR = 512


class NoDisk(Exception):
    """This machine can't do it: no root, no loop devices, no XFS with reflink."""


def run(*words):
    result = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise OSError(f"{' '.join(map(str, words))}: {result.stderr.strip()}")
    return result.stdout.strip()


def unmount(path):
    """Whoever still uses it is gone a moment later."""
    for left in range(200, -1, -1):
        try:
            run("umount", path)
            return
        except OSError:
            if left == 0:
                raise
            time.sleep(0.05)


def place(need):
    """Where the images are kept: in memory when there is room, since thousands of syncs are asked of
    them; POWERCUT_DIR names another place."""
    if "POWERCUT_DIR" in os.environ:
        return os.environ["POWERCUT_DIR"]
    memory = {line.split(":")[0]: int(line.split()[1]) << 10
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines()}
    with contextlib.suppress(OSError):
        if min(shutil.disk_usage("/dev/shm").free, memory["MemAvailable"] // 2) > need:
            return "/dev/shm"
    return "/tmp"


class Host:
    """The XFS that holds the image and its pictures. A context manager."""

    def __init__(self, size=4096 * MIB):
        if os.geteuid() != 0:
            raise NoDisk("needs root")
        for program in ("mkfs.xfs", "mkfs.ext4", "losetup"):
            if shutil.which(program) is None:
                raise NoDisk(f"{program} isn't installed")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="postern-cut-", dir=place(3 * size // 4)))
        self.path = self.base / "host"
        self.path.mkdir()
        self.mounted = False
        try:
            with open(self.base / "host.img", "wb") as image:
                image.truncate(size)
            run("mkfs.xfs", "-q", "-m", "reflink=1", self.base / "host.img")
            run("mount", "-o", "loop,discard", self.base / "host.img", self.path)
            self.mounted = True
        except OSError as why:
            self.close()
            raise NoDisk(str(why)) from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.mounted:
            unmount(self.path)
        shutil.rmtree(self.base)


class Disk:
    """An image with `count` file systems of a kind, mounted at `mounts`. A context manager."""

    def __init__(self, host, kind, count):
        self.host = host
        self.kind = kind
        self.image = host.path / "disk"
        self.mounts = [host.base / f"fs{number}" for number in range(count)]
        self.loops = []
        self.mounted = []
        for mount in self.mounts:
            mount.mkdir(exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(MIB + count * PARTITION)
        self.attach(self.image)
        for loop in self.loops:
            run(f"mkfs.{kind}", "-q", loop)
        self.mount()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.unmount()
        self.image.unlink()

    def attach(self, image):
        for number in range(len(self.mounts)):
            self.loops.append(run("losetup", "--show", "-f", "-o", MIB + number * PARTITION,
                "--sizelimit", PARTITION, image))

    def mount(self):
        for loop, mount in zip(self.loops, self.mounts):
            run("mount", loop, mount)
            self.mounted.append(mount)

    def unmount(self):
        while self.mounted:
            # Nothing more is to be written: what was wanted of it is in pictures.
            directory = os.open(self.mounted[-1], os.O_RDONLY | os.O_DIRECTORY)
            fcntl.ioctl(directory, SHUTDOWN, struct.pack("<I", WITHOUT_THE_LOG))
            os.close(directory)
            unmount(self.mounted[-1])
            self.mounted.pop()
        for loop in self.loops:
            run("losetup", "-d", loop)
        self.loops = []

    def picture(self, path):
        with open(self.image, "rb") as source, open(path, "xb") as copy:
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())

    def use(self, image):
        """Mounts a picture in the place of the disk: the journals are replayed as after a cut."""
        self.unmount()
        self.attach(image)
        self.mount()


def tear(path, data, generator):
    """Gives the file some of the sectors in which it differs from `data`, what the kernel held of it
    and may have been writing: each sector is as it was or as it was to be. True when some were
    written and some not."""
    with open(path, "r+b") as file:
        before = file.read()
        differing = [at for at in range(0, min(len(before), len(data)), SECTOR)
            if before[at:at + SECTOR] != data[at:at + SECTOR]]
        written = [at for at in differing if generator.random() < 0.5]
        for at in written:
            file.seek(at)
            file.write(data[at:at + SECTOR])
    return 0 < len(written) < len(differing)
