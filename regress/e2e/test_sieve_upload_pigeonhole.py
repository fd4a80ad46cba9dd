"""ManageSieve's commands, to our server and to Pigeonhole's: the same answers, or it is told why not."""

import os
import pathlib
import re
import select
import subprocess
import tempfile

import pytest

from postern import TOP, Postern, free_port
from sieve_client import USER, SieveClient

CONFIG = """
base_dir = {folder}/run
log_path = /dev/stderr
default_internal_user = root
default_internal_group = root
default_login_user = root
first_valid_uid = 1
mail_uid = {uid}
mail_gid = {uid}
stats_writer_socket_path =
ssl = no
mail_location = maildir:{folder}/mail
namespace inbox {{
  inbox = yes
}}
plugin {{
  sieve = file:{folder}/mail/scripts;active={folder}/mail/active.sieve
  sieve_max_script_size = 64K
  sieve_quota_max_scripts = 32
}}
"""
NOBODY = 65534
BIG = b"#" * (64 * 1024 - 1) + b"\n"

# What a client sends, line by line, in one session.
DIALOGUE = [
    b"NOOP",
    b'NOOP "tag"',
    b"NOOP {3+}\r\nabc",
    b"LISTSCRIPTS",
    b'PUTSCRIPT "a" "keep;"',
    b'PUTSCRIPT "b" {9+}\r\ndiscard;\n',
    b'PutScript "c" "nonsense;"',
    b'PUTSCRIPT "c" ""',
    b'CHECKSCRIPT "keep;"',
    b'CHECKSCRIPT "nonsense;"',
    b'CHECKSCRIPT ""',
    b"LISTSCRIPTS",
    b'SETACTIVE "a"',
    b"LISTSCRIPTS",
    b'SETACTIVE "a"',
    b'SETACTIVE "none"',
    b'GETSCRIPT "a"',
    b'GETSCRIPT "none"',
    b'DELETESCRIPT "a"',
    b'DELETESCRIPT "none"',
    b'RENAMESCRIPT "a" "b"',
    b'RENAMESCRIPT "a" "a2"',
    b"LISTSCRIPTS",
    b'RENAMESCRIPT "none" "x"',
    b'RENAMESCRIPT "none" "b"',
    b'HAVESPACE "x" 100',
    b'HAVESPACE "x" 65536',
    b'HAVESPACE "x" 65537',
    b'HAVESPACE "x" 4294967295',
    b'HAVESPACE "x" 4294967296',
    b'HAVESPACE "x" "100"',
    b'HAVESPACE "x"',
    b'PUTSCRIPT "c" {%d+}\r\n%b' % (len(BIG), BIG),
    b'PUTSCRIPT "c" {%d+}\r\n%b' % (len(BIG) + 1, BIG + b"\n"),
    b'PUTSCRIPT "d" "keep;"',
    b'HAVESPACE "d" 1',
    b'HAVESPACE "c" 1',
    b'PUTSCRIPT "" "keep;"',
    b'PUTSCRIPT "x/y" "keep;"',
    b'PUTSCRIPT "x" keep;',
    b"GETSCRIPT a2",
    b"PUTSCRIPT",
    b'LISTSCRIPTS "x"',
    b"NOTHING",
    b"AUTHENTICATE",
    b"STARTTLS",
    b'SETACTIVE ""',
    b'SETACTIVE ""',
    b'DELETESCRIPT "a2"',
    b'DELETESCRIPT "b"',
    b'DELETESCRIPT "c"',
    b'DELETESCRIPT "d"',
    b"LISTSCRIPTS",
    b"LOGOUT",
]
# What we answer, what Pigeonhole 0.5.19 does, and why.
DIFFERENCES = {
    b'HAVESPACE "x" 4294967296': ("NO", "NO (QUOTA/MAXSIZE)", "RFC 5804 4: a number has 32 bits"),
}


class Pigeonhole(SieveClient):
    """Its managesieve behind a login."""

    def __init__(self, folder):
        uid = NOBODY if os.geteuid() == 0 else os.geteuid()
        (folder / "dovecot.conf").write_text(CONFIG.format(folder=folder, uid=uid))
        for name in ("run", "mail"):
            (folder / name).mkdir()
        if os.geteuid() == 0:
            os.chown(folder / "mail", NOBODY, NOBODY)
        self.buffer, self.lines, self.status, self.words = b"", [], "", ""
        self.process = subprocess.Popen([TOP / "build/tools/bin/dovecot", folder / "dovecot.conf",
            "managesieve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={"HOME": str(folder / "mail"), "USER": "bob"})

    def fill(self):
        """By pipes: on a socket it wouldn't begin."""
        if not select.select([self.process.stdout], [], [], 20)[0]:
            raise TimeoutError("no answer")
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise ConnectionError(f"closed behind {self.buffer!r}")
        self.buffer += data

    def send(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


def play(client, dialogue=None):
    """What each command is answered, with the lines before that."""
    found = []
    for command in dialogue or DIALOGUE:
        try:
            status = client.say(command + b"\r\n")
        except ConnectionError:
            found.append(("closed", []))
            break
        found.append((re.sub(r" \(TAG.*", " (TAG)", status), sorted(client.lines)))
    return found


@pytest.fixture(scope="module")
def ours(stage):
    port = free_port()
    instance = Postern(stage, extra=f"listen on 127.0.0.1 port {port} sieve auth-cleartext\n")
    instance.start()
    try:
        instance.add_domain("example.test")
        instance.add_user(USER)
        with SieveClient(port, USER) as client:
            yield play(client)
    finally:
        instance.destroy()


@pytest.fixture(scope="module")
def theirs():
    if not (TOP / "build/tools/dovecot-managesieved/complete").exists():
        pytest.skip("Pigeonhole isn't there (make test-deps)")
    with tempfile.TemporaryDirectory(prefix="sieve-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        with Pigeonhole(pathlib.Path(name)) as client:
            yield play(client)


def test_commands_are_answered_alike_but_for_what_is_told(ours, theirs):
    assert len(ours) == len(theirs) == len(DIALOGUE)
    differs = {command: (our, their) for command, our, their in zip(DIALOGUE, ours, theirs) if our != their}
    assert differs == {command: ((our, []), (their, [])) for command, (our, their, _) in DIFFERENCES.items()}
