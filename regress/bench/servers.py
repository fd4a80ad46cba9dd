"""The servers that the bench measures. Postern comes from the build tree; the others are Debian's
packages, each in a root of its own below build/bench, which is made once.

Each has the mailboxes u@example.test and 2u to 100u@example.test, relays to other domains what comes
from 127.0.0.1, listens on a port there, asks network.py's DNS, offers no TLS unless it is given a
certificate, and has its limits on clients lifted; the rest is as it comes.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import time

import network
from measure import TOP, WORK, command

BUILD = TOP / os.environ.get("BUILD", "build")
MAILBOXES = ["u"] + [f"{number}u" for number in range(2, 101)]
MAIL_UID = 5000


class Server:
    """start() puts it on a fresh disk, in a cgroup; stop() asks it to end."""

    name = ""
    port = 0
    greeting = b"220 "
    certificate = None  # (certificate, key): offers STARTTLS with it when it starts

    def prepare(self):
        """What is made once."""

    def maildirs(self, count=1):
        """Where the mail of the first `count` mailboxes lies."""
        return [self.mail / user for user in MAILBOXES[:count]]

    def wait_until_it_answers(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                    if probe.recv(4) == self.greeting:
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing answers on port {self.port}; logs are in {WORK}")
            time.sleep(0.05)


class Postern(Server):
    name = "postern"
    port = 2511
    state = "postern-state"  # where the accounts are kept that were made once
    extra = ""  # lines of its configuration

    def prepare(self):
        command(TOP / "etc/make-accounts.sh", stdout=subprocess.DEVNULL)
        shutil.rmtree(WORK / self.state, ignore_errors=True)

    def version(self):
        result = command("git", "-C", TOP, "log", "-1", "--format=%h of %cs",
            stdout=subprocess.PIPE, text=True)
        return f"Postern {result.stdout.strip()}"

    def control(self, *words, stdin=""):
        subprocess.run([BUILD / "bin/smtpctl", "-s", self.socket, *words], input=stdin, text=True,
            stdout=subprocess.DEVNULL, check=True)

    def start(self, disk, cgroup):
        config = disk.root / "smtpd.conf"
        self.socket = disk.root / "run/smtpd.sock"
        pki = "" if self.certificate is None else (f"""\
pki bench cert "{self.certificate[0]}"
pki bench key "{self.certificate[1]}"
""")
        config.write_text(f"""\
directory spool "{disk.root}/spool"
directory state "{disk.root}/state"
directory run "{disk.root}/run"
mail directory "{disk.root}/mail"
smtp hostname mx.example.test
smtp limit max-mails 1000000
resolver nameserver {network.NAMESERVER}
resolver trust-anchor none
{pki}{self.extra}listen on 127.0.0.1 port {self.port}{" tls pki bench" if pki else ""}
action "in" maildir virtual <accounts>
action "out" relay
match from any for domain <accounts> action "in"
match from local for any action "out"
""")
        self.mail = disk.root / "mail/example.test"
        # The accounts of an earlier start, where there was one.
        known = WORK / self.state
        if known.exists():
            command("cp", "-a", known, disk.root / "state")
        environment = {**os.environ, "LD_PRELOAD": str(WORK / "syncshim.so"),
            "SYNC_COUNT": str(disk.counter)}
        with open(WORK / "postern.log", "wb") as log:
            self.process = subprocess.Popen([BUILD / "bin/smtpd", "-d", "-f", config],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=cgroup.enter, start_new_session=True)
        self.wait_until_it_answers()
        if not known.exists():
            self.make_accounts()
            command("cp", "-a", disk.root / "state", known)

    def make_accounts(self):
        self.control("domain", "add", "example.test")
        for user in MAILBOXES:
            self.control("user", "add", f"{user}@example.test", "no-password")

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Peer(Server):
    """A server of Debian's, in a root of its own: its spool and mailboxes are bound in from the
    fresh disk, and the shim is preloaded for the whole root, as some clear their environment."""

    package = ""

    def __init__(self):
        self.root = WORK / self.name
        self.mail = self.root / "var/vmail"

    def prepare(self):
        if not (self.root / "complete").exists():
            shutil.rmtree(self.root, ignore_errors=True)
            print(f"bench: setting up a root with {self.package} (once) ...", flush=True)
            packages = WORK / "packages"
            packages.mkdir(exist_ok=True)
            sources = pathlib.Path("/etc/apt/sources.list.d/debian.sources")
            lines = sources.read_text().splitlines() if sources.exists() else []
            # This machine's mirror; without one named there, debootstrap's own.
            mirror = [line.split()[1] for line in lines if line.startswith("URIs:")][:1]
            with open(WORK / f"{self.name}.setup.log", "wb") as log:
                command("debootstrap", "--variant=minbase", f"--cache-dir={packages}",
                    f"--include={self.package}", "bookworm", self.root, *mirror, stdout=log)
            (self.root / "complete").touch()
        for source, target in (("proc", "proc"), ("/dev", "dev")):
            if not os.path.ismount(self.root / target):
                command("mount", *(["-t", "proc"] if source == "proc" else ["--bind"]), source,
                    self.root / target)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost mx.example.test\n")
        (self.root / "etc/resolv.conf").write_text(
            f"nameserver {network.NAMESERVER}\noptions attempts:1\n")
        self.mail.mkdir(exist_ok=True)

    def version(self):
        result = self.within("dpkg-query", "-W", "-f", "${Version}", self.package,
            stdout=subprocess.PIPE, text=True)
        return f"{self.title} {result.stdout}"

    def within(self, *words, **options):
        return command("chroot", self.root, *words, **options)

    def start(self, disk, cgroup):
        self.configure()
        command("cp", "-a", self.root / "var/spool", disk.root / "spool")
        (disk.root / "vmail").mkdir()
        os.chown(disk.root / "vmail", MAIL_UID, MAIL_UID)
        shutil.copy(WORK / "syncshim.so", self.root / "syncshim.so")
        (self.root / "sync.count").touch()
        for source, target in ((disk.root / "spool", "var/spool"),
                (disk.root / "vmail", "var/vmail"), (disk.counter, "sync.count")):
            command("mount", "--bind", source, self.root / target)
        (self.root / "etc/ld.so.preload").write_text("/syncshim.so\n")
        with open(WORK / f"{self.name}.log", "wb") as log:
            self.process = subprocess.Popen(["chroot", self.root, *self.start_words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=cgroup.enter,
                start_new_session=True)
        self.wait_until_it_answers()

    def stop(self):
        (self.root / "etc/ld.so.preload").unlink(missing_ok=True)
        self.process.terminate()
        for name in ("var/spool", "var/vmail", "sync.count"):
            command("umount", "-l", self.root / name)


class Postfix(Peer):
    """Virtual mailboxes, delivered by virtual(8)."""

    name = "postfix"
    title = "Postfix"
    package = "postfix"
    port = 2512
    start_words = ["/usr/sbin/postfix", "start-fg"]

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
smtp_tls_security_level = none
""" + self.tls_lines())
        master = (etc / "master.cf").read_text().splitlines()
        port = f"127.0.0.1:{self.port}"
        # More processes for SMTP than the other limit, so that the 101st session is served as well.
        master = [f"{port} inet n - y - 200 smtpd" if line.split()[:2] == ["smtp", "inet"] or
            line.startswith("127.0.0.1:") else line for line in master]
        if not any(line.startswith("postlog") for line in master):
            master.append("postlog unix-dgram n - n - 1 postlogd")
        (etc / "master.cf").write_text("\n".join(master) + "\n")
        (etc / "mailboxes").write_text("".join(f"{user}@example.test {user}/\n"
            for user in MAILBOXES))
        self.within("postmap", "hash:/etc/postfix/mailboxes")
        (self.root / "etc/aliases").touch()
        self.within("newaliases")
        spool = self.root / "var/spool/postfix/etc"
        spool.mkdir(parents=True, exist_ok=True)
        for name in ("hosts", "services", "nsswitch.conf", "resolv.conf"):
            source = self.root / "etc" / name
            if source.exists():
                shutil.copy(source, spool)


    def tls_lines(self):
        if self.certificate is None:
            return "smtpd_tls_security_level = none\n"
        files = [shutil.copy(path, self.root / "etc/postfix") for path in self.certificate]
        names = [f"/etc/postfix/{pathlib.Path(path).name}" for path in files]
        return (f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {names[0]}\n"
            f"smtpd_tls_key_file = {names[1]}\n")


class OpenSMTPD(Peer):
    """A virtual table and a userbase; in front, so that it logs to a file as the others do."""

    name = "opensmtpd"
    title = "OpenSMTPD"
    package = "opensmtpd"
    port = 2513
    start_words = ["/usr/sbin/smtpd", "-d"]

    def configure(self):
        etc = self.root / "etc"
        (etc / "smtpd.conf").write_text(f"""\
table users file:/etc/bench-users
table homes file:/etc/bench-homes
smtp limit max-mails 10000000
listen on 127.0.0.1 port {self.port} hostname mx.example.test
action "in" maildir "/var/vmail/%{{dest.user}}" virtual <users> userbase <homes>
action "out" relay
match from any for domain "example.test" action "in"
match from local for any action "out"
""")
        (etc / "bench-users").write_text("".join(f"{user}@example.test {user}\n"
            for user in MAILBOXES))
        (etc / "bench-homes").write_text("".join(f"{user} {MAIL_UID}:{MAIL_UID}:/var/vmail\n"
            for user in MAILBOXES))


class Exim(Peer):
    """One router and appendfile in Maildir format; each delivery begins at once."""

    name = "exim"
    title = "Exim"
    package = "exim4-daemon-light"
    port = 2514
    start_words = ["/usr/sbin/exim4", "-bdf", "-q30m"]

    def configure(self):
        etc = self.root / "etc/exim4"
        (etc / "users").write_text("".join(f"{user}: {user}\n" for user in MAILBOXES))
        (etc / "exim4.conf").write_text(f"""\
primary_hostname = mx.example.test
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
tls_advertise_hosts =
host_lookup =
smtp_accept_max = 200
smtp_accept_max_per_connection = 1000000
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = check_recipient
begin acl
check_recipient:
  accept domains = example.test
  deny
begin routers
mailboxes:
  driver = accept
  domains = example.test
  local_parts = lsearch;/etc/exim4/users
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = /var/vmail/$local_part_data
  create_directory
  user = {MAIL_UID}
  group = {MAIL_UID}
""")


SERVERS = {server.name: server for server in (Postern, Postfix, OpenSMTPD, Exim)}
