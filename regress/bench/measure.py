"""What the bench measures with: a cgroup for CPU time and memory, a fresh disk with the counter of
its flushes, and how much mail is in Maildirs."""

import mmap
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = TOP / "regress/bench"
WORK = TOP / "build/bench"
CPU = "/sys/fs/cgroup/cpuacct"
PATIENCE = 30  # seconds without a new message until a run is given up


def command(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL,
        **options)


class Cgroup:
    """A cgroup (v1 cpuacct, or v2): all of a server's processes and nothing else."""

    def __init__(self, name):
        self.is_v1 = os.path.isdir(CPU)
        self.path = pathlib.Path(CPU if self.is_v1 else "/sys/fs/cgroup") / f"{name}-{os.getpid()}"
        self.path.mkdir()

    def enter(self):
        """For a child about to exec."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def cpu_ms(self):
        if self.is_v1:
            return int((self.path / "cpuacct.usage").read_text()) / 1e6
        words = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return int(words["usage_usec"]) / 1e3

    def pids(self):
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def pss_mib(self):
        """Memory of all processes, pages that several share counted once."""
        total = 0
        for pid in self.pids():
            try:
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                continue
        return total / 1024

    def signal(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def end(self):
        """Ends what still runs, kindly for ten seconds."""
        deadline = time.monotonic() + 10
        self.signal(signal.SIGTERM)
        while self.pids():
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
            time.sleep(0.05)
        self.path.rmdir()


class Disk:
    """A fresh ext4 in a file, mounted; and the shim's counter of flushes."""

    def __init__(self, name, delay_us):
        self.image = WORK / f"{name}.ext4"
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-", dir="/var/tmp"))
        self.root.chmod(0o755)
        self.image.unlink(missing_ok=True)
        command("truncate", "-s", "16G", self.image)
        command("mkfs.ext4", "-q", "-F", self.image)
        # The kernel would go on making inode tables while the server is measured.
        command("mount", "-o", "loop,noinit_itable", self.image, self.root)
        # Like a disk: not by way of the page cache of the file system that the file is on.
        device = subprocess.check_output(["findmnt", "-n", "-o", "SOURCE", self.root], text=True)
        command("losetup", "--direct-io=on", device.strip())
        self.counter = WORK / f"{name}.sync"
        self.counter.write_bytes(struct.pack("QQ", 0, delay_us))
        self.counter.chmod(0o666)
        with open(self.counter, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 16)

    def flushes(self):
        return struct.unpack_from("Q", self.page)[0]

    def settle(self):
        """Nothing from before is left to be written."""
        command("sync", "-f", self.root)

    def remove(self):
        # A process that was killed may not have gone quite yet.
        for _ in range(50):
            if subprocess.run(["umount", self.root], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        else:
            command("umount", "-l", self.root)
        self.root.rmdir()
        self.image.unlink()
        self.counter.unlink()


def mail_count(maildirs):
    total = 0
    for maildir in maildirs:
        try:
            total += len(os.listdir(maildir / "new"))
        except FileNotFoundError:
            continue
    return total


def wait_for_mail(maildirs, wanted):
    """Until there are `wanted` messages, or no new one has come for a while; how many there are."""
    have, since = 0, time.monotonic()
    while True:
        now = mail_count(maildirs)
        if now >= wanted:
            return now
        if now > have:
            have, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            return now
        time.sleep(0.05)


def last_stored(maildirs):
    """When (seconds since 1970) the last message got its name in new/: a rename sets ctime."""
    last = 0.0
    for maildir in maildirs:
        if (maildir / "new").exists():
            for entry in os.scandir(maildir / "new"):
                last = max(last, entry.stat().st_ctime)
    return last
