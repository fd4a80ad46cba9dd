"""The programs of Debian that call sendmail, themselves: in a mount namespace in which this
instance's is /usr/sbin/sendmail. And the command lines of those that would be too much to install."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import pytest

import postern as harness
from test_sendmail import NOBODY, as_user, only, options, program, sendmail, server, shared

pytestmark = pytest.mark.root
TOOLS = harness.TOP / "build/tools"

# /run and /var/spool are empty, so that no daemon of the machine's is met.
SETUP = """
mount --bind "$SBIN" /usr/sbin
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/spool
[ ! -d "$CRON" ] || mount --bind "$CRON" /etc/cron.d
"""


class Machine:
    def __init__(self, server, folder):
        self.folder = folder
        folder.chmod(0o755)
        self.calls = folder / "calls"
        self.calls.touch()
        self.calls.chmod(0o666)
        (folder / "sbin").mkdir()
        script = folder / "sbin/sendmail"
        script.write_text(f"#!/bin/sh\necho \"$@\" >>{self.calls}\n"
            f"exec {program(server)} {' '.join(options(server))} \"$@\"\n")
        script.chmod(0o755)
        self.environment = os.environ | {"SBIN": str(folder / "sbin"), "CRON": str(folder / "cron"),
            "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}

    def words(self, *words, setup="", user=None):
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec",
            f'{SETUP}{setup}\nexec "$@"', "sh", *as_user(user), *map(str, words)]

    def run(self, *words, text="", status=0, **more):
        result = subprocess.run(self.words(*words, **more), input=text.encode(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, cwd="/",
            env=self.environment)
        assert result.returncode == status, result
        return result.stdout.decode()

    def start(self, *words, **more):
        return subprocess.Popen(self.words(*words, **more), stdin=subprocess.DEVNULL, cwd="/",
            env=self.environment, start_new_session=True)

    def call(self):
        return self.calls.read_text()


@pytest.fixture
def machine(server):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-machine-", dir="/tmp"))
    yield Machine(server, folder)
    shutil.rmtree(folder)


def unpacked(package, path):
    found = TOOLS / package / path
    if not found.exists():
        pytest.skip(f"{package} isn't unpacked (make test-deps)")
    return found


def test_cron_mails_what_a_job_says_and_gets_back_what_is_refused(server, machine):
    server.add_alias(f"{NOBODY}@example.test", "bob@example.test")
    (machine.folder / "cron").mkdir()
    (machine.folder / "cron/job").write_text("MAILTO=alice@example.test\n"
        f"@reboot {NOBODY} printf 'Grüße\\n.\\nmore\\n'\n"
        "MAILTO=alice@example.test,nobody-there@example.test\n"
        f"@reboot {NOBODY} echo the disk is full\n")
    daemon = machine.start(unpacked("cron", "usr/sbin/cron"), "-f",
        setup="mkdir -p /var/spool/cron/crontabs")
    try:
        mail, returned = only(server), only(server, "bob")
    finally:
        daemon.kill()
        daemon.wait(20)
    assert mail.body == "Grüße\n.\nmore\n".encode()
    assert mail.message["From"].addresses[0].addr_spec == "root@example.test"
    assert b"550 5.1.1" in returned.body and b"the disk is full\n" in returned.body
    words = "-FCronDaemon -i -B8BITMIME -oem alice@example.test"
    assert sorted(machine.call().splitlines()) == [words, f"{words},nobody-there@example.test"]


def test_at_mails_what_a_job_says(server, machine):
    server.add_alias("root@example.test", "alice@example.test")
    daemon = machine.start("sh", "-c", """
        "$1" -f -l 99 & daemon=$!
        until [ -s /run/atd.pid ]; do sleep 0.1; done
        echo "echo from at" | "$0" now
        wait $daemon
        """, unpacked("at", "usr/bin/at"), unpacked("at", "usr/sbin/atd"), setup="""
        mkdir -p /var/spool/cron/atjobs /var/spool/cron/atspool
        echo 0 >/var/spool/cron/atjobs/.SEQ
        chown -R daemon:daemon /var/spool/cron
        chmod 1770 /var/spool/cron/at*
        """)
    try:
        mail = only(server)
    finally:
        daemon.kill()
        daemon.wait(20)
    assert mail.body == b"from at\n" and "Output from your job" in mail.message["Subject"]
    assert machine.call() == "-i root\n"


def test_anacron_mails_what_a_job_says(server, machine):
    (machine.folder / "tab").write_text("SHELL=/bin/sh\nPATH=/bin:/usr/bin\n"
        "MAILTO=alice@example.test\n1 0 daily echo from anacron\n")
    (machine.folder / "spool").mkdir()
    machine.run(unpacked("anacron", "usr/sbin/anacron"), "-d", "-f", "-n",
        "-t", machine.folder / "tab", "-S", machine.folder / "spool")
    mail = only(server)
    assert mail.body == b"from anacron\n"
    assert str(mail.message["From"]) == "Anacron <root@example.test>"
    assert machine.call() == "-FAnacron -odi alice@example.test\n"


def test_bsd_mailx(server, machine):
    machine.run(unpacked("bsd-mailx", "usr/bin/bsd-mailx"), "-s", "Grüße", "-b",
        "bob@example.test", "-r", "carol@client.test", "alice@example.test", text="Käse\n.\n")
    mail = only(server)
    assert mail.message["Subject"] == "Grüße" and mail.body == "Käse\n.\n".encode()
    assert mail.message["Return-Path"] == "<carol@client.test>"
    assert only(server, "bob").message["Bcc"] is None
    assert machine.call() == "-i -t -f carol@client.test\n"


def test_php(server, machine, tool):
    sent = machine.run(tool("php8.2"), "-n", "-r", """
        echo mail("Alice <alice@example.test>", "=?UTF-8?B?R3LDvMOfZQ==?=",
            "one\\n.\\ntwo\\r\\nKäse", ["From" => "Shop <shop@client.test>",
            "Bcc" => "bob@example.test", "X-Mine" => "yes",
            "Content-Type" => "text/plain; charset=utf-8"], "-fbounces@client.test") ? 1 : 0;
        """)
    assert sent == "1"
    mail = only(server)
    assert mail.body == "one\n.\ntwo\nKäse\n".encode()
    assert (mail.message["Subject"], mail.message["X-Mine"]) == ("Grüße", "yes")
    assert mail.message["Return-Path"] == "<bounces@client.test>"
    assert only(server, "bob").message["Bcc"] is None
    assert machine.call() == "-t -i -fbounces@client.test\n"
    said = machine.run(tool("php8.2"), "-n", "-r",
        'echo mail("nobody-there@example.test", "x", "y") ? 1 : 0;')
    assert "550 5.1.1" in said and said.endswith("0")


def test_logwatch(server, machine):
    """Its services read what journalctl and logs say; here one that there is something for."""
    logs = machine.folder / "log"
    logs.mkdir()
    (logs / "auth.log").write_text(time.strftime("%b %e %H:%M:%S") +
        " here sshd[7]: Failed password for root from 192.0.2.1 port 4711 ssh2\n")
    layers = ":".join(str(unpacked(package, "usr/share")) for package in ("logwatch", "libdate-manip-perl"))
    machine.run("perl", unpacked("logwatch", "usr/share/logwatch/scripts/logwatch.pl"), "--output", "mail",
        "--mailto", "alice@example.test", "--logdir", logs, "--service", "sshd", "--range", "today",
        "--detail", "high", setup=f"mount -t overlay -o ro,lowerdir={layers}:/usr/share overlay /usr/share\n"
        "mount -t tmpfs none /var/cache\nmkdir /var/cache/logwatch")
    mail = only(server)
    assert mail.message["Subject"].startswith("Logwatch for ")
    assert b"192.0.2.1" in mail.body
    assert machine.call() == "-t\n"


def test_perls_mime_lite(server, machine):
    machine.run("perl", "-e", """
        eval { require MIME::Lite } or exit 0;
        my $mail = MIME::Lite->new(From => 'Me <me@client.test>', To => 'alice@example.test',
            Cc => 'bob@example.test', Subject => 'by perl', Data => "one\\n.\\ntwo\\n");
        $mail->send or die;
        """)
    if not machine.call():
        pytest.skip("MIME::Lite isn't installed (make test-deps)")
    assert only(server).body == b"one\n.\ntwo\n"
    assert only(server, "bob").message["Return-Path"] == "<me@client.test>"
    assert machine.call() == "-t -oi -oem -fme@client.test\n"


CALLS = {
    "logwatch": ("-t", "To: alice@example.test\nTo: bob@example.test\n"
        "From: Logwatch <root>\nSubject: Logwatch for mx (Linux)\nPrecedence: bulk\n"),
    "mdadm --monitor": ("-t", "From: mdadm monitoring <root>\nTo: alice, bob\n"
        "Subject: DegradedArray event on /dev/md0:mx\n"),
    "sudo": ("-t", "To: alice\nCc: bob\nFrom: nobody\nAuto-Submitted: auto-generated\n"
        "Subject: *** SECURITY information for mx ***\n"),
    "unattended-upgrades": ("-oi -t", "Subject: x\nFrom: root\nTo: alice,bob\n"),
    "apt-listchanges": ("-oi -t", "Subject: =?utf-8?q?apt-listchanges?=\nTo: alice,bob\n"),
    "reportbug": ("-f carol@client.test -oi -oem alice@example.test bob@example.test",
        "To: Debian Bug Tracking System <submit@client.test>\nSubject: x\n"),
    "fail2ban": ("-f carol@client.test alice bob", "Subject: [Fail2Ban] sshd: banned\n"
        "Date: Mon, 30 Nov 2026 10:00:00 +0000\nFrom: Fail2Ban <carol>\nTo: root\n"),
    "rkhunter": ("alice bob", "Subject: [rkhunter] Daily report\nTo: root\n"),
    "mail of mailutils": ("-oi -f carol@client.test -t", "Subject: x\nTo: <alice>,<bob>\n"
        "User-Agent: mail (GNU Mailutils 3.15)\n"),
    "Ruby's Mail": ("-i -f carol@client.test -- alice bob", "From: carol@client.test\n"),
    "Email::Sender": ("-i -f carol@client.test -- alice bob", "From: carol@client.test\n"),
    "procmail and formail": ("-oi -t", "To: alice\nCc: bob\nX-Loop: me\n"),
    "Sieve of Pigeonhole": ("-i -f carol@client.test -- alice bob", "X-Sieve: Pigeonhole\n"),
    "Emacs": ("-oi -f carol@client.test -odb -oep -t", "To: alice\nBCC: bob\n"),
    "mutt": ("-oem -oi -f carol@client.test -N failure,delay -R hdrs -- alice bob", "To: x\n"),
}


@pytest.mark.parametrize("name", CALLS)
def test_as_others_call_it(server, name):
    words, header = CALLS[name]
    sendmail(server, *words.split(), text=f"{header}\nhello\n".encode(), user=NOBODY)
    for user in ("alice", "bob"):
        mail = only(server, user)
        assert mail.body == b"hello\n" and mail.message["Bcc"] is None
        assert (mail.message["Return-Path"] == "<carol@client.test>") == ("carol" in words)
        assert mail.message["From"].addresses[0].domain in ("example.test", "client.test")


def test_the_queue_is_shown_and_tried_again_by_sendmails_options(server, machine):
    path = pathlib.Path(re.search(rb"/[\w/.-]+/smtpd\.sock",
        program(server).read_bytes()).group().decode())
    there = next(folder for folder in path.parents if folder.exists())
    setup = f"""
        mount -t tmpfs none {there}
        mkdir -p {path.parent}
        mount --bind {server.run} {path.parent}
        """
    server.smtpctl("pause", "mda")
    sendmail(server, "alice")
    shown = machine.run(program(server, "mailq", "bin"), setup=setup)
    assert "|alice@example.test|" in shown
    assert machine.run("sendmail", "-bp", setup=setup).split("|")[0] == shown.split("|")[0]
    assert machine.run("sendmail", "-q15m", setup=setup) == ""
    assert machine.run("sendmail", "-q", setup=setup) == "1 envelope scheduled\n"
    assert "need root" in machine.run("sendmail", "-q", setup=setup, user=NOBODY,
        status=os.EX_NOPERM)
    server.smtpctl("resume", "mda")
    assert only(server).body == b"hello\n"
