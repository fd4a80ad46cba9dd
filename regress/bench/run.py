"""Mail in over SMTP, until all of it is in Maildirs: messages a second, CPU and flushes a message,
memory; for this suite and for Postfix, in the same way on the same machine. Run by run.sh.

Each run begins on a fresh ext4 that holds spool and mailboxes, in fresh cgroups that hold the
server and nothing else, with the server's processes counted by the same preloaded shim. The
client is Postfix's smtp-source for both.
"""

import argparse
import mmap
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = TOP / "regress/bench"
WORK = TOP / "build/bench"
BUILD = TOP / os.environ.get("BUILD", "build")
SOURCE = TOP / "build/tools/bin/smtp-source"
PORTS = {"postern": 2511, "postfix": 2512}
WARM_UP = 20
PATIENCE = 60  # seconds without a new message until a run is given up
CPU = "/sys/fs/cgroup/cpuacct"


def command(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL,
        **options)


class Cgroup:
    """A cgroup (v1 cpuacct, or v2) whose processes' CPU time is told."""

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
        total = 0
        for pid in self.pids():
            try:
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                continue
        return total / 1024

    def remove(self):
        deadline = time.monotonic() + 10
        while self.pids() and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        while self.pids():
            time.sleep(0.05)
        self.path.rmdir()


class Disk:
    """A fresh ext4 in a file, mounted; and the shim's counter."""

    def __init__(self, name, delay_us):
        self.image = WORK / f"{name}.ext4"
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="postern-bench-", dir="/var/tmp"))
        self.root.chmod(0o755)
        command("truncate", "-s", "8G", self.image)
        command("mkfs.ext4", "-q", "-F", self.image)
        command("mount", "-o", "loop", self.image, self.root)
        self.counter = WORK / f"{name}.sync"
        self.counter.write_bytes(struct.pack("QQ", 0, delay_us))
        self.counter.chmod(0o666)
        with open(self.counter, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), 16)

    def syncs(self):
        return struct.unpack_from("Q", self.page)[0]

    def remove(self):
        command("umount", self.root)
        self.root.rmdir()
        self.image.unlink()


class Postern:
    """This suite, from the build tree."""

    name = "postern"

    def start(self, disk, cgroup):
        command(TOP / "etc/make-accounts.sh")
        config = disk.root / "smtpd.conf"
        config.write_text(f"""\
directory spool "{disk.root}/spool"
directory state "{disk.root}/state"
directory run "{disk.root}/run"
mail directory "{disk.root}/mail"
smtp hostname mx.example.test
smtp limit max-mails 1000000
listen on 127.0.0.1 port {PORTS[self.name]}
action "in" maildir virtual <accounts>
match from any for domain <accounts> action "in"
""")
        self.maildir = disk.root / "mail/example.test/u"
        environment = {**os.environ, "LD_PRELOAD": str(WORK / "syncshim.so"),
            "SYNC_COUNT": str(disk.counter)}
        with open(WORK / "postern.log", "wb") as log:
            self.process = subprocess.Popen([BUILD / "bin/smtpd", "-d", "-f", config],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=cgroup.enter, start_new_session=True)
        wait_for_port(PORTS[self.name])
        for words, text in ((["domain", "add", "example.test"], ""),
                (["user", "add", "u@example.test"], "a pass phrase\n")):
            subprocess.run([BUILD / "bin/smtpctl", "-s", disk.root / "run/smtpd.sock", *words],
                input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Postfix:
    """Debian's Postfix in a root of its own: virtual mailboxes, delivered by virtual(8)."""

    name = "postfix"
    root = WORK / "postfix"

    def setup(self):
        if not (self.root / "complete").exists():
            shutil.rmtree(self.root, ignore_errors=True)
            print("bench: setting up a root with Postfix (once) ...", flush=True)
            sources = pathlib.Path("/etc/apt/sources.list.d/debian.sources")
            lines = sources.read_text().splitlines() if sources.exists() else []
            # This machine's mirror; without one named there, debootstrap's own.
            mirror = [line.split()[1] for line in lines if line.startswith("URIs:")][:1]
            command("debootstrap", "--variant=minbase", "--include=postfix", "bookworm", self.root,
                *mirror, stdout=subprocess.DEVNULL)
            (self.root / "complete").touch()
        for source, target in (("proc", "proc"), ("/dev", "dev")):
            if not os.path.ismount(self.root / target):
                command("mount", *(["-t", "proc"] if source == "proc" else ["--bind"]), source,
                    self.root / target)
        self.configure()

    def configure(self):
        etc = self.root / "etc/postfix"
        (etc / "main.cf").write_text("""\
compatibility_level = 3.6
myhostname = mx.example.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
virtual_mailbox_domains = example.test
virtual_mailbox_base = /var/vmail
virtual_mailbox_maps = hash:/etc/postfix/mailboxes
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
smtpd_relay_restrictions = permit_mynetworks reject_unauth_destination
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 100
maillog_file = /var/log/postfix.log
smtpd_tls_security_level = none
smtp_tls_security_level = none
""")
        master = (etc / "master.cf").read_text().splitlines()
        port = f"127.0.0.1:{PORTS[self.name]}"
        master = [f"{port} inet n - y - - smtpd" if line.split()[:2] == ["smtp", "inet"] or
            line.startswith("127.0.0.1:") else line for line in master]
        if not any(line.startswith("postlog") for line in master):
            master.append("postlog unix-dgram n - n - 1 postlogd")
        (etc / "master.cf").write_text("\n".join(master) + "\n")
        (etc / "mailboxes").write_text("u@example.test u/\n")
        self.within("postmap", "hash:/etc/postfix/mailboxes")
        (self.root / "etc/aliases").touch()
        self.within("newaliases")
        spool = self.root / "var/spool/postfix/etc"
        spool.mkdir(parents=True, exist_ok=True)
        for name in ("hosts", "services", "nsswitch.conf", "resolv.conf"):
            source = self.root / "etc" / name
            if source.exists():
                shutil.copy(source, spool)
        (self.root / "var/vmail").mkdir(exist_ok=True)

    def within(self, *words, **options):
        return command("chroot", self.root, *words, **options)

    def start(self, disk, cgroup):
        self.setup()
        self.disk = disk
        command("cp", "-a", self.root / "var/spool", disk.root / "spool")
        (disk.root / "vmail").mkdir()
        os.chown(disk.root / "vmail", 5000, 5000)
        command("mount", "--bind", disk.root / "spool", self.root / "var/spool")
        command("mount", "--bind", disk.root / "vmail", self.root / "var/vmail")
        # Postfix gives its processes an environment of its own: preloaded for the whole root.
        shutil.copy(WORK / "syncshim.so", self.root / "syncshim.so")
        (self.root / "sync.count").touch()
        command("mount", "--bind", disk.counter, self.root / "sync.count")
        (self.root / "etc/ld.so.preload").write_text("/syncshim.so\n")
        self.maildir = self.root / "var/vmail/u"
        self.within("postfix", "start", preexec_fn=cgroup.enter, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_for_port(PORTS[self.name])

    def stop(self):
        self.within("postfix", "stop", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)  # its master has answered before its children have gone
        (self.root / "etc/ld.so.preload").unlink()
        for name in ("var/spool", "var/vmail", "sync.count"):
            command("umount", "-l", self.root / name)


SERVERS = {"postern": Postern, "postfix": Postfix}


def wait_for_port(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                if probe.recv(4) == b"220 ":
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: nothing answers on port {port}; logs are in {WORK}")
        time.sleep(0.05)


def count(maildir):
    try:
        return sum(1 for _ in os.scandir(maildir / "new"))
    except FileNotFoundError:
        return 0


def wait_for_mail(maildir, wanted):
    """Until there are `wanted` messages, or no new one has come for a while; how many there are."""
    have, since = 0, time.monotonic()
    while True:
        now = count(maildir)
        if now >= wanted:
            return now
        if now > have:
            have, since = now, time.monotonic()
        if time.monotonic() - since > PATIENCE:
            return now
        time.sleep(0.02)


def send(port, messages, sessions, size, reconnect):
    command(SOURCE, *([] if reconnect else ["-d"]), "-s", sessions, "-m", messages, "-l", size,
        "-f", "s@client.test", "-t", "u@example.test", f"127.0.0.1:{port}", stdout=subprocess.DEVNULL)


def measure(name, options, sessions, size):
    server, port = SERVERS[name](), PORTS[name]
    cgroup = Cgroup(f"bench-{name}")
    disk = Disk(name, options.delay_us)
    try:
        server.start(disk, cgroup)
        send(port, WARM_UP, 2, size, options.reconnect)
        if wait_for_mail(server.maildir, WARM_UP) < WARM_UP:
            raise SystemExit(f"bench: {name} delivers nothing; logs are in {WORK}")
        base, syncs, cpu, begin = count(server.maildir), disk.syncs(), cgroup.cpu_ms(), time.time()
        send(port, options.messages, sessions, size, options.reconnect)
        accepted = time.time()
        have = wait_for_mail(server.maildir, base + options.messages) - base
        end = time.time()
        cpu, syncs = cgroup.cpu_ms() - cpu, disk.syncs() - syncs
        pss, processes = cgroup.pss_mib(), len(cgroup.pids())
        n = options.messages
        print(f"{name:<8} {n:>7} {sessions:>5} {size:>7} {n / (accepted - begin):>9.0f} "
            f"{have / (end - begin):>9.0f} {cpu / n:>8.3f} {syncs / n:>8.3f} {pss:>7.1f} "
            f"{processes:>5} {n - have:>5}", flush=True)
    finally:
        server.stop()
        cgroup.remove()
        disk.remove()


def main():
    parser = argparse.ArgumentParser(description="mail in over SMTP until it is in Maildirs")
    parser.add_argument("servers", nargs="*", default=["postern", "postfix"])
    parser.add_argument("-m", "--messages", type=int, default=5000)
    parser.add_argument("-s", "--sessions", default="1,20,100", help="one run for each")
    parser.add_argument("-l", "--size", default="4096", help="bytes; one run for each")
    parser.add_argument("-r", "--repeat", type=int, default=1)
    parser.add_argument("--reconnect", action="store_true", help="a connection for each message")
    parser.add_argument("--delay-us", type=int, default=0, help="a slow disk: after each flush")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    command("gcc", "-O2", "-shared", "-fPIC", "-o", WORK / "syncshim.so", HERE / "syncshim.c",
        "-ldl")
    print(f"{'server':<8} {'mails':>7} {'sess.':>5} {'bytes':>7} {'taken/s':>9} {'stored/s':>9} "
        f"{'cpu ms':>8} {'flushes':>8} {'PSS MiB':>7} {'proc.':>5} {'lost':>5}", flush=True)
    for size in map(int, options.size.split(",")):
        for sessions in map(int, options.sessions.split(",")):
            for _ in range(options.repeat):
                for name in options.servers:
                    measure(name, options, sessions, size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
