"""Faults: calls that fail, are slow or do half of what they should, through a preloaded shim
(regress/shim/faultshim.c).

	from faults import faults, faults_library  # noqa: F401

	def test_something(make_postern, faults):
	    postern = make_postern(environment=faults.environment)
	    with faults.set("queue", sync_error=errno.EIO):
	        …
	        assert faults["sync_failed"] > 0

For each kind of call in KINDS there is an error, and a count of those that failed. Memory fails only
with memory_faults instead of faults.
"""

import contextlib
import mmap
import os
import pathlib
import struct
import subprocess
import tempfile

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "shim/faultshim.c"
# In the shim's order.
KINDS = ("sync", "write", "rename", "allocate", "truncate", "link", "unlink", "open", "socket",
    "accept", "memfd", "memory")
COUNTS = ("syncs", "shortened", *(f"{kind}_failed" for kind in KINDS))
FIELDS = ("syncs", "sync_delay", "short_writes", "shortened", "seconds",
    *(f"{kind}_{what}" for kind in KINDS for what in ("error", "failed")))


def build(directory, *options):
    """Compiles the shim; the path of the library."""
    library = pathlib.Path(directory) / f"faultshim{len(options)}.so"
    subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O2", "-Wall", "-Werror",
        *options, "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Faults:
    """The page that the suite's processes share with the test."""

    def __init__(self, library):
        descriptor, self.path = tempfile.mkstemp(prefix="postern-faults-", dir="/tmp")
        os.ftruncate(descriptor, 4096)
        os.chmod(self.path, 0o666)
        self.page = mmap.mmap(descriptor, 4096)
        os.close(descriptor)
        self.environment = {"LD_PRELOAD": str(library), "POSTERN_FAULTS": self.path}

    def close(self):
        self.page.close()
        os.unlink(self.path)

    def __getitem__(self, field):
        return struct.unpack_from("<I", self.page, 16 + 4 * FIELDS.index(field))[0]

    def __setitem__(self, field, value):
        struct.pack_into("<I", self.page, 16 + 4 * FIELDS.index(field), value)

    @contextlib.contextmanager
    def set(self, program="", **fields):
        """For the calls of `program` ("queue", "mda"; "" all), while the block lasts. What is
        counted counts on until the next block."""
        for field in COUNTS:
            self[field] = 0
        for field, value in fields.items():
            self[field] = value
        struct.pack_into("<16s", self.page, 0, program.encode())
        try:
            yield self
        finally:
            for field in set(FIELDS) - set(COUNTS):
                self[field] = 0
            struct.pack_into("<16s", self.page, 0, b"")

    def count(self, program):
        """A context manager whose value is a function: syncs of `program` since it began."""
        @contextlib.contextmanager
        def counting():
            with self.set(program):
                yield lambda: self["syncs"]
        return counting()


@pytest.fixture(scope="session")
def faults_library():
    with tempfile.TemporaryDirectory(prefix="postern-shim-", dir="/tmp") as directory:
        # Every user of the suite loads it.
        os.chmod(directory, 0o755)
        yield build(directory)


@pytest.fixture
def faults(faults_library):  # pylint: disable=redefined-outer-name
    made = Faults(faults_library)
    yield made
    made.close()


@pytest.fixture
def own_memory(stage):
    """Skips the test where the programs' memory is a sanitizer's."""
    if b"__asan" in (stage / "usr/sbin/smtpd").read_bytes():
        pytest.skip("a sanitizer has a malloc of its own")


@pytest.fixture
def memory_faults(own_memory):  # pylint: disable=unused-argument,redefined-outer-name
    with tempfile.TemporaryDirectory(prefix="postern-shim-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        made = Faults(build(directory, "-DFAULTS_MEMORY"))
        yield made
        made.close()
