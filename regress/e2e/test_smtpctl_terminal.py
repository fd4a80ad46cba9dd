"""smtpctl and people: tables on a terminal, passwords, pipes that close; the server is played by the
test (control_suite)."""

import base64
import ctypes
import hashlib
import hmac
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import unicodedata

import pytest

from control_suite import (ACCOUNT, DONE, ENVELOPE, LINE, QUEUE_ACT, QUEUE_LIST, QUEUE_MESSAGE,
    ControlSuite, mail, result, text)
from postern import BUILD

SMTPCTL = BUILD / "bin/smtpctl"
# The worst that a local part may hold; control characters don't pass the address parser.
EVIL = 'a"b|c\\d é'


@pytest.fixture
def suite():
    with ControlSuite() as instance:
        yield instance


class Terminal:
    """smtpctl on a terminal of its own."""

    def __init__(self, *words, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(SMTPCTL, ["smtpctl", *map(str, words)])
        termios.tcsetwinsize(self.fd, (24, columns))
        self.output = ""

    def read(self):
        try:
            self.output += os.read(self.fd, 4096).decode(errors="replace")
            return True
        except OSError:  # the end of a terminal
            return False

    def wait_output(self, part):
        while part not in self.output:
            assert self.read(), self.output

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def finish(self):
        while self.read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def answer_list(suite, envelopes):
    request = suite.queue.receive()
    assert request.type == QUEUE_LIST
    for envelope in envelopes:
        suite.queue.send(ENVELOPE, request.id, envelope)
    suite.queue.send(DONE, request.id, result())


def columns(line):
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


@pytest.mark.parametrize("width", [80, 60, 132])
def test_on_a_terminal_the_queue_is_a_table_that_fits(suite, width):
    terminal = Terminal("-s", suite.path, "show", "queue", columns=width)
    answer_list(suite, [mail(1), mail(2, ("s" * 64, "d" * 63 + ".test"), ("r" * 64, "e.test")),
        mail(3, (EVIL, "evil.test")), mail(4, ("你好你好你好你好", "例え.test"))])
    assert terminal.finish() == 0
    lines = terminal.output.splitlines()
    assert lines[0].split() == ["ENVELOPE", "STATE", "AGE", "TRIES", "NEXT", "FROM", "TO"]
    assert len(lines) == 5
    assert max(columns(line) for line in lines) <= max(width, 80)
    assert not re.search(r"[\x00-\x1f\x7f\x85\u202e]", "".join(lines))


def test_into_a_pipe_each_envelope_is_one_line_of_fourteen_fields(suite):
    process = suite.smtpctl("show", "queue")
    answer_list(suite, [mail(1), mail(2, (EVIL, "evil.test"), ("|sh", "x.test"))])
    out, err = process.communicate(timeout=10)
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith("1234567800000001|inet4|mda||erin@client.test|alice@example.test|")
    assert len(first.split("|")) == len(second.split("|")) == 14
    assert second.split("|")[4] == r'"a\\"b\174c\\\\d é"@evil.test'


def test_json_is_valid_whatever_the_addresses_hold(suite):
    process = suite.smtpctl("show", "queue", before=["-j"])
    answer_list(suite, [mail(1, (EVIL, "evil.test"), helo=b'x"{}\\\xff\xc2\x85\xe2\x80\xae')])
    out, _err = process.communicate(timeout=10)
    (line,) = out.splitlines()
    envelope = json.loads(line)
    assert envelope["id"] == "1234567800000001"
    assert envelope["helo"] == 'x"{}\\\ufffd\x85\u202e'
    assert envelope["from"] == '"' + EVIL.replace("\\", "\\\\").replace('"', '\\"') + '"@evil.test'
    assert "\x85" not in line


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN], ids=["default", "ignored"])
def test_a_reader_that_goes_away_ends_it_quietly(suite, handler):
    process = suite.smtpctl("show", "queue", restore_signals=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, handler))
    process.stdout.close()
    request = suite.queue.receive()
    # More than what it collects before it writes.
    for number in range(1, 1001):
        suite.queue.send(ENVELOPE, request.id, mail(number))
    assert process.wait(10) != 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_an_output_that_cannot_be_written_is_told(suite):
    with open("/dev/full", "w", encoding="ascii") as full:
        process = subprocess.Popen([SMTPCTL, "-s", suite.path, "show", "queue"], stdout=full,
            stderr=subprocess.PIPE, text=True)
        answer_list(suite, [mail(1)])
        _out, err = process.communicate(timeout=10)
    assert process.returncode == os.EX_IOERR
    assert err == "smtpctl: standard output: No space left on device\n"


def test_show_message_writes_its_bytes(suite):
    data = os.urandom(100000)
    process = subprocess.Popen([SMTPCTL, "-s", suite.path, "show", "message", "12345678"],
        stdout=subprocess.PIPE)
    request = suite.queue.receive()
    assert request.type == QUEUE_MESSAGE
    memory = os.memfd_create("message")
    os.write(memory, data)
    suite.queue.send(DONE, request.id, result(), memory)
    os.close(memory)
    assert process.communicate(timeout=10)[0] == data
    assert process.returncode == 0


def test_an_envelope_that_does_not_exist_is_an_error(suite):
    process = suite.smtpctl("show", "envelope", "1234567800000009")
    answer_list(suite, [])
    out, err = process.communicate(timeout=10)
    assert (out, err) == ("", "smtpctl: command failed: no such envelope\n")
    assert process.returncode == os.EX_DATAERR


def test_a_reason_of_several_lines_cannot_act_on_the_terminal(suite):
    process = suite.smtpctl("remove", "all")
    request = suite.queue.receive()
    suite.queue.send(DONE, request.id, result(code=65, words="one\x1b[2J\ntwo"))
    out, err = process.communicate(timeout=10)
    assert (out, err) == ("", "smtpctl: command failed: one?[2J\ntwo\n")
    assert process.returncode == 65


def hash_is_of(password, hashed):
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    return library.crypt(password.encode(), hashed.encode()).decode() == hashed


def receive_account(suite):
    """The words of the request that the directory gets; it is granted."""
    request = suite.directory.receive()
    assert request.type == ACCOUNT
    (count,) = struct.unpack_from("<I", request.payload, 5)
    words, at = [], 9
    for _ in range(count):
        (length,) = struct.unpack_from("<H", request.payload, at)
        words.append(request.payload[at + 2:at + 2 + length].decode())
        at += 2 + length
    suite.directory.send(DONE, request.id, result())
    return words


def verifier_is_of(password, verifier):
    """RFC 5802 3: the keys that SCRAM-SHA-256 compares with."""
    iterations, *texts = verifier.split(",")
    salt, stored, server = map(base64.b64decode, texts)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(iterations))
    client = hmac.digest(salted, b"Client Key", "sha256")
    return (hashlib.sha256(client).digest() == stored and
        hmac.digest(salted, b"Server Key", "sha256") == server)


def test_a_password_is_asked_for_twice_without_being_shown(suite):
    terminal = Terminal("-s", suite.path, "user", "add", "u@example.test")
    terminal.wait_output("Password: ")
    terminal.type("s3cret pass\n")
    terminal.wait_output("Again: ")
    terminal.type("s3cret pass\n")
    address, hashed, verifier = receive_account(suite)
    assert terminal.finish() == 0
    assert address == "u@example.test"
    assert hashed.startswith("$y$") and hash_is_of("s3cret pass", hashed)
    assert verifier_is_of("s3cret pass", verifier)
    assert "s3cret" not in terminal.output
    assert "command succeeded" in terminal.output


def test_two_passwords_that_differ_change_nothing(suite):
    terminal = Terminal("-s", suite.path, "user", "passwd", "u@example.test")
    terminal.wait_output("Password: ")
    terminal.type("one\n")
    terminal.wait_output("Again: ")
    terminal.type("two\n")
    assert terminal.finish() == os.EX_DATAERR
    assert "the two differ" in terminal.output


def test_a_password_from_a_pipe_is_one_line_and_no_more():
    script = f"{SMTPCTL} encrypt one; read rest; echo \"$rest\""
    out = subprocess.run(["sh", "-c", script], input="two\n", stdout=subprocess.PIPE, text=True,
        timeout=20, check=True).stdout.splitlines()
    assert hash_is_of("one", out[0]) and out[1] == "two"


def test_a_password_read_by_user_add_leaves_the_rest_of_the_input(suite):
    script = f'{SMTPCTL} -s {suite.path} user add u@example.test; read rest; echo "$rest"'
    process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True)
    process.stdin.write("first pass\nsecond\n")
    process.stdin.flush()
    address, hashed, _ = receive_account(suite)
    assert address == "u@example.test" and hash_is_of("first pass", hashed)
    assert process.communicate(timeout=10)[0] == "command succeeded\nsecond\n"


@pytest.mark.parametrize("given, reason", [
    (b"", "no password on standard input"),
    (b"\n", "an empty password"),
    (b"a\0b\n", "no NUL"),
    (b"x" * 512 + b"\n", "at most 511 bytes"),
])
def test_a_password_that_cannot_be_is_refused(suite, given, reason):
    done = subprocess.run([SMTPCTL, "-s", suite.path, "user", "add", "u@example.test"], input=given,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == os.EX_DATAERR
    assert reason in done.stderr.decode()
    assert suite.serves()


def test_encrypt_hashes_each_line_with_a_salt_of_its_own():
    out = subprocess.run([SMTPCTL, "encrypt"], input="same\nsame\n" + "x" * 511 + "\n",
        stdout=subprocess.PIPE, text=True, timeout=20, check=True).stdout.splitlines()
    assert len(out) == 3 and out[0] != out[1]
    assert hash_is_of("same", out[0]) and hash_is_of("same", out[1])
    assert hash_is_of("x" * 511, out[2])


def test_users_are_listed(suite):
    for form, expected in ((["-j"], '{"address":"u@x.test","quota_bytes":5,"quota_messages":0}\n'),
            ([], "u@x.test|5|0\n")):
        process = suite.smtpctl("user", "list", before=form)
        request = suite.directory.receive()
        suite.directory.send(LINE, request.id, text("u@x.test\t5\t0"))
        suite.directory.send(DONE, request.id, result())
        assert process.communicate(timeout=10) == (expected, "")


def test_monitor_shows_what_has_grown(suite):
    out = suite.smtpctl("monitor", "2").communicate(timeout=10)[0].splitlines()
    assert out[0].startswith("--- client ---")
    assert out[1].split() == ("curr conn disc curr enq deq ok tmpfail prmfail loop expire remove "
        "bounce").split()
    assert len(out) == 4
    assert all(len(line.split()) == 13 and line.split()[0] == "5" for line in out[2:])


def test_stats_have_names_and_an_uptime(suite):
    out = suite.smtpctl("show", "stats").communicate(timeout=10)[0]
    stats = dict(line.split("=") for line in out.splitlines())
    assert stats["smtp.session"] == "5"
    assert stats["uptime"].isdigit() and re.fullmatch(r"(\d+[dhm])*(\d+s)?", stats["uptime.human"])
    out = suite.smtpctl("show", "stats", before=["-j"]).communicate(timeout=10)[0]
    assert json.loads(out)["smtp.session"] == 5


def test_without_a_server_it_says_so(tmp_path):
    done = subprocess.run([SMTPCTL, "-s", tmp_path / "none.sock", "show", "queue"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, timeout=10, check=False)
    assert (done.stdout, done.stderr) == ("", "smtpctl: smtpd doesn't seem to be running\n")
    assert done.returncode == os.EX_UNAVAILABLE


def test_a_server_that_dies_while_it_is_asked_is_told(suite):
    process = suite.smtpctl("remove", "all")
    assert suite.queue.receive().type == QUEUE_ACT
    suite.supervisor.socket.shutdown(2)
    out, err = process.communicate(timeout=10)
    assert (out, err) == ("", "smtpctl: command failed: smtpd closed the connection\n")
    assert process.returncode == os.EX_UNAVAILABLE
    assert suite.process.wait(10) == 0
    suite.ended = True


def test_mailq_is_show_queue(suite, tmp_path):
    (tmp_path / "mailq").symlink_to(SMTPCTL.resolve())
    done = subprocess.run([tmp_path / "mailq", "-s", suite.path, "show", "stats"],
        stdout=subprocess.PIPE, text=True, timeout=10, check=True)
    assert "uptime=" in done.stdout
    process = subprocess.Popen([tmp_path / "mailq", "-s", suite.path], stdout=subprocess.PIPE,
        text=True)
    answer_list(suite, [mail(1)])
    assert process.communicate(timeout=10)[0].startswith("1234567800000001|")
