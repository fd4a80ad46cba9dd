"""Several hosts on a network of their own: each a network namespace with an address, joined by a
bridge, so that every one of them has port 25. Nothing of them is seen outside, and all ends with
the test's process.

	with Lan(tool) as lan:                          # 10.25.0.1, where the tests' clients are
	    host = Host(lan, "far", "10.25.0.20")
	    host.run("hostname")                        # a command on that host
	    with host.inside():                         # sockets that this thread makes are that host's
	        client = smtplib.SMTP("10.25.0.30")

A Root is what a host of Debian's packages has besides the network: a small file system of its own,
with the packages unpacked by regress/deps.sh over this machine's /usr. hosts_peers.py has the mail
servers that run there, hosts_site.py puts all together.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from postern import TOP, processes, wait_for

NETWORK = "10.25.0.0/24"
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def enter_network(file):
    if libc.setns(file, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def end_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Host:
    """A host with these addresses (on a switch that is a Lan; the Lan itself has none)."""

    def __init__(self, lan, name, *addresses):
        self.name = name
        self.lan = lan
        self.addresses = addresses
        self.root = None
        self.keeper = subprocess.Popen(["unshare", "--net", "--mount", "--uts", "--pid", "--fork",
            "--kill-child", "--mount-proc", "sleep", "infinity"], stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it complains of its own end
            preexec_fn=end_with_parent)
        self.pid = wait_for(self._first_process, what=f"namespaces of {name}")
        self.network = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if lan is None:
            self.ip("link set lo up")
            return
        lan.hosts.append(self)
        lan.ip(f"link add v-{name} type veth peer name eth0 netns {self.pid}",
            f"link set v-{name} master br0 up")
        self.ip("link set lo up", *(f"address add {address}/24 dev eth0" for address in addresses),
            "link set eth0 up")

    def _first_process(self):
        assert self.keeper.poll() is None, f"no namespaces for {self.name}"
        return next((process.pid for process in processes().values()
            if process.parent == self.keeper.pid and process.program == "sleep"), None)

    def network_words(self):
        """Words before a command's that make it a process of this host's network, and nothing
        more."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

    def words(self, *command):
        root = ["chroot", str(self.root.path)] if self.root else []
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-p", "--", *root,
            *map(str, command)]

    def ip(self, *commands):
        """Commands of ip(8)."""
        subprocess.run([*self.network_words(), "ip", "-batch", "-"], check=True, text=True,
            input="\n".join(commands) + "\n", timeout=60)

    def run(self, *command, check=True, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        result = subprocess.run(self.words(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=60, **options)
        assert not check or result.returncode == 0, (command, result.stdout)
        return result.stdout

    def start(self, *command, log):
        """A command in the background, its output to that file."""
        with open(log, "ab") as file:
            return subprocess.Popen(self.words(*command), stdin=subprocess.DEVNULL, stdout=file,
                stderr=file, start_new_session=True)

    @contextlib.contextmanager
    def inside(self):
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter_network(self.network)
            try:
                yield self
            finally:
                enter_network(before)
        finally:
            os.close(before)

    def end(self):
        """Ends all of its processes, the network with them."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.keeper.wait(20)
        os.close(self.network)


class Lan(Host):
    """The network: what stands between the hosts, itself at 10.25.0.1 and up to .9, and with more
    addresses for servers of the tests' own."""

    def __init__(self, tool, own=()):
        self.tool = tool
        self.hosts = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-hosts-", dir="/tmp"))
        self.folder.chmod(0o755)
        super().__init__(None, "lan")
        self.ip("link add br0 type bridge", *(f"address add {address}/24 dev br0"
            for address in ("10.25.0.1", "10.25.0.2", "10.25.0.3", *own)), "link set br0 up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in [*self.hosts, self]:
            host.end()
        shutil.rmtree(self.folder, ignore_errors=True)


USERS = """root:x:0:0::/root:/bin/sh
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
vmail:x:5000:5000::/var/vmail:/bin/sh
postfix:x:5001:5001::/var/spool/postfix:/usr/sbin/nologin
Debian-exim:x:5002:5002::/var/spool/exim4:/usr/sbin/nologin
opensmtpd:x:5003:5003::/run/opensmtpd:/usr/sbin/nologin
opensmtpq:x:5004:5004::/run/opensmtpd:/usr/sbin/nologin
"""
GROUPS = """root:x:0:
tty:x:5:
mail:x:8:
nogroup:x:65534:
vmail:x:5000:
postfix:x:5001:
Debian-exim:x:5002:
opensmtpd:x:5003:
opensmtpq:x:5004:
postdrop:x:5005:
"""


class Root:
    """The file system of a host: `path` on this machine. /usr is this machine's under that of the
    unpacked package, read-only; all else is made here."""

    def __init__(self, host, package, nameserver, authority):
        self.path = host.lan.folder / host.name
        unpacked = TOP / "build/tools" / package / "usr"
        for name in ("usr", "proc", "dev", "etc/ssl/certs", "root", "run", "tmp", "var/log",
                "var/spool", "var/vmail"):
            (self.path / name).mkdir(parents=True)
        (self.path / "tmp").chmod(0o1777)
        os.chown(self.path / "var/vmail", 5000, 5000)
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink(f"/{name}"):
                (self.path / name).symlink_to(f"usr/{name}")
        (self.path / "var/run").symlink_to("../run")
        etc = self.path / "etc"
        (etc / "passwd").write_text(USERS)
        (etc / "group").write_text(GROUPS)
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        (etc / "resolv.conf").write_text(f"nameserver {nameserver}\noptions trust-ad\n")
        for name in ("services", "protocols"):
            shutil.copy(f"/etc/{name}", etc)
        shutil.copy(authority, etc / "ssl/certs/ca-certificates.crt")
        (etc / "ld.so.cache").write_bytes(pathlib.Path("/etc/ld.so.cache").read_bytes())
        host.run("sh", "-c", "hostname $0 && mount -t proc proc $1/proc && mount --rbind /dev $1/dev "
            "&& mount -t overlay overlay -o ro,lowerdir=$2:/usr $1/usr", host.name, self.path, unpacked)
        host.root = self

    def write(self, name, text, *, owner=0, mode=0o644):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, owner, owner)
        return path
