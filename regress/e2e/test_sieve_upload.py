"""Sieve scripts come and go by ManageSieve (RFC 5804): what clients that people have do, what the answers
are, and what hostile ones do to themselves."""

import base64
import contextlib
import os
import signal
import subprocess

import pytest
from sievelib import managesieve

from postern import Postern, free_port, wait_for
from sieve_client import PASSWORD, USER, SieveClient, insecure, literal
from test_auth import Scram
from test_faults_disk import fill, small_disk  # noqa: F401
from test_tls import NAME, folder, rsa  # noqa: F401

BOB = "bob@example.test"
KEEP = b"keep;\r\n"
BAD = b'require "fileinto";\r\nkeep;\r\nbogus "x";\r\n'


@pytest.fixture(scope="module")
def server(stage):
    port = free_port()
    instance = Postern(stage, extra=f"""
        smtp limit auth-failures 1000
        listen on 127.0.0.1 port {port} sieve auth-cleartext
    """)
    instance.sieve = port
    instance.start()
    try:
        instance.add_domain("example.test")
        instance.add_user(USER)
        instance.add_user(BOB)
        yield instance
    finally:
        instance.destroy()


@pytest.fixture
def client(server):
    """Alice's session, without any script; at its end the server is well."""
    with SieveClient(server.sieve, USER) as made:
        made.run("SETACTIVE", "")
        for name in names(made):
            assert made.run("DELETESCRIPT", name) == "OK", name
        yield made
    server.check()


def names(client):
    assert client.run("LISTSCRIPTS") == "OK"
    return sorted(line.removesuffix(b" ACTIVE")[1:-1].decode() for line in client.lines)


def scripts(server, user=USER):
    return server.maildir(user) / "sieve"


# What a session does

def test_a_script_is_stored_listed_read_made_active_and_deleted(server, client):
    assert client.run("PUTSCRIPT", "first", KEEP) == "OK"
    assert client.say(b'PUTSCRIPT "second" "discard;"\r\n') == "OK"
    assert client.run("SETACTIVE", "first") == "OK"
    assert client.run("LISTSCRIPTS") == "OK" and sorted(client.lines) == [b'"first" ACTIVE', b'"second"']
    assert client.run("GETSCRIPT", "first") == "OK" and client.lines == [b'"' + KEEP + b'"']
    folder_of = scripts(server)
    assert (folder_of / "first.sieve").read_bytes() == KEEP
    assert os.readlink(folder_of / "active") == "first.sieve"
    assert sorted(path.name for path in folder_of.iterdir()) == ["active", "first.sieve", "second.sieve"]
    assert client.run("DELETESCRIPT", "first") == "NO (ACTIVE)"
    assert client.run("DELETESCRIPT", "second") == "OK"
    assert client.run("SETACTIVE", "") == "OK"
    assert client.run("DELETESCRIPT", "first") == "OK"
    assert client.run("LISTSCRIPTS") == "OK" and client.lines == []
    assert list(folder_of.iterdir()) == []


def test_what_is_not_there_is_nonexistent(client):
    for command in ("GETSCRIPT", "DELETESCRIPT", "SETACTIVE"):
        assert client.run(command, "none") == "NO (NONEXISTENT)", command
    assert client.run("RENAMESCRIPT", "none", "other") == "NO (NONEXISTENT)"


def test_a_renamed_script_stays_active_and_takes_no_others_place(server, client):
    for name in ("one", "two"):
        client.run("PUTSCRIPT", name, KEEP)
    client.run("SETACTIVE", "one")
    assert client.run("RENAMESCRIPT", "one", "two") == "NO (ALREADYEXISTS)"
    assert client.run("RENAMESCRIPT", "one", "three") == "OK"
    assert names(client) == ["three", "two"]
    assert os.readlink(scripts(server) / "active") == "three.sieve"


def test_a_script_with_an_error_is_not_stored_and_its_line_is_named(client):
    client.run("PUTSCRIPT", "kept", KEEP)
    assert client.run("PUTSCRIPT", "kept", BAD) == "NO"
    assert client.words.startswith("line 3: ") and "bogus" in client.words
    assert client.run("CHECKSCRIPT", BAD) == "NO" and client.words.startswith("line 3: ")
    assert client.run("CHECKSCRIPT", KEEP) == "OK"
    assert client.run("GETSCRIPT", "kept") == "OK" and client.lines == [b'"' + KEEP + b'"']


def test_what_is_hardly_meant_is_a_warning_and_stored(client):
    script = b"keep;\r\nstop;\r\ndiscard;\r\n"
    for command in (["CHECKSCRIPT", script], ["PUTSCRIPT", "odd", script]):
        assert client.run(*command) == "OK (WARNINGS)", command
        assert client.words == 'line 3: what is behind \\"stop\\" is never reached'
    assert names(client) == ["odd"]
    assert client.run("PUTSCRIPT", "odd", b'require "imap4flags"; addflag ["(", "{"];') == "OK (WARNINGS)"
    assert client.words.count("is no flag") == 2 and client.words.count("\n") == 1
    assert client.run("PUTSCRIPT", "odd", KEEP) == "OK"


def test_there_is_room_for_so_many_scripts_and_so_much(client):
    assert client.run("HAVESPACE", "big", 64 * 1024) == "OK"
    assert client.run("HAVESPACE", "big", 64 * 1024 + 1) == "NO (QUOTA/MAXSIZE)"
    assert client.run("PUTSCRIPT", "big", b"#" * (64 * 1024 - 1) + b"\n") == "OK"
    for size in (64 * 1024 + 1, 70000, 3_000_000):
        assert client.run("PUTSCRIPT", "bigger", b"#" * size) == "NO (QUOTA/MAXSIZE)", size
    for number in range(31):
        assert client.run("PUTSCRIPT", f"n{number}", KEEP) == "OK"
    assert client.run("PUTSCRIPT", "more", KEEP) == "NO (QUOTA/MAXSCRIPTS)"
    assert client.run("HAVESPACE", "more", 1) == "NO (QUOTA/MAXSCRIPTS)"
    assert client.run("HAVESPACE", "n1", 1) == "OK"
    assert client.run("PUTSCRIPT", "n1", KEEP + KEEP) == "OK"
    assert len(names(client)) == 32


def test_names_that_no_file_may_have_are_refused(server, client):
    for name in ("", ".", "..", "../up", "a/b", ".hidden", "a\0b", "x" * 129, b"\xff\xfe", "a\nb", "a\x7fb"):
        with SieveClient(server.sieve, USER) as other:
            for command in ("PUTSCRIPT", "RENAMESCRIPT"):
                assert other.run(command, name, KEEP) == "NO", (command, name)
            assert other.run("GETSCRIPT", name) == "NO", name
    for name in ("x" * 128, "Grüße an alle", 'with "quotes" \\', "active", "sieve", "-rf"):
        with SieveClient(server.sieve, USER) as other:
            assert other.run("PUTSCRIPT", name, KEEP) == "OK", name
            assert name in [text.replace('\\"', '"').replace("\\\\", "\\") for text in names(other)]
            assert other.run("DELETESCRIPT", name) == "OK"


def test_users_see_their_own_scripts_only(server, client):
    client.run("PUTSCRIPT", "mine", KEEP)
    with SieveClient(server.sieve, BOB) as bob:
        assert names(bob) == []
        assert bob.run("GETSCRIPT", "mine") == "NO (NONEXISTENT)"
        assert bob.run("CAPABILITY") == "OK" and bob.capabilities()["OWNER"] == BOB


def test_noop_answers_with_its_tag(server, client):
    for session in (client, SieveClient(server.sieve)):
        assert session.run("NOOP") == "OK"
        assert session.say('NOOP "a \\"tag\\""\r\n') == 'OK (TAG "a \\"tag\\"")'
        assert session.run("LOGOUT") == "OK"


def test_links_and_other_files_in_the_folder_are_no_scripts(server, client, tmp_path):
    client.run("PUTSCRIPT", "real", KEEP)
    secret = tmp_path / "secret"
    secret.write_text("keep;")
    where = scripts(server)
    (where / "link.sieve").symlink_to(secret)
    (where / "notes.txt").write_text("none")
    (where / "folder.sieve").mkdir()
    try:
        assert names(client) == ["real"]
        for name in ("link", "folder"):
            assert client.run("GETSCRIPT", name).startswith("NO"), name
            assert client.run("SETACTIVE", name) == "NO (NONEXISTENT)"
    finally:
        (where / "link.sieve").unlink()
        (where / "notes.txt").unlink()
        (where / "folder.sieve").rmdir()


# Before the login

def test_nothing_but_a_login_is_done_before_it(server):
    with SieveClient(server.sieve) as client:
        found = client.capabilities()
        assert found["VERSION"] == "1.0" and "fileinto" in found["SIEVE"] and "STARTTLS" not in found
        assert found["SASL"].split() == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
        for command in ("LISTSCRIPTS", 'GETSCRIPT "x"', 'PUTSCRIPT "x" {5+}\r\nkeep;', 'SETACTIVE ""',
                'HAVESPACE "x" 1', "STARTTLS", "GARBAGE"):
            assert client.say(command + "\r\n") == "NO", command
        assert client.run("CAPABILITY") == "OK" and client.capabilities() == found


def test_logins_that_fail(server):
    with SieveClient(server.sieve) as client:
        assert client.log_in(password="wrong") == "NO"
        assert client.say(b'AUTHENTICATE "NONE" ""\r\n') == "NO"
        assert client.say(b'AUTHENTICATE "PLAIN" "?"\r\n') == "NO"
        client.send(b'AUTHENTICATE "PLAIN"\r\n')
        assert client.line() == b'""'
        assert client.say(b'"*"\r\n') == "NO"
        assert client.log_in() == "OK"
    server.wait_log("auth-failed", service="sieve", user=USER)
    server.wait_log("auth-ok", service="sieve", user=USER)
    server.wait_log("sieve-disconnected", user=USER)


def test_scram_with_challenges_as_strings(server):
    with SieveClient(server.sieve) as client:
        scram = Scram()
        client.send(b'AUTHENTICATE "SCRAM-SHA-256" ' + literal(scram.first()) + b"\r\n")
        challenge = client.line()[1:-1].decode()
        client.send(b'"' + scram.final(challenge).encode() + b'"\r\n')
        assert base64.b64decode(client.line()[1:-1]).decode() == scram.expected
        assert client.say(b'""\r\n') == "OK"
        assert client.run("LISTSCRIPTS") == "OK"


def test_what_is_sent_behind_the_login_is_answered(server):
    with SieveClient(server.sieve) as client:
        text = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        client.send(b'AUTHENTICATE "PLAIN" {%d+}\r\n%b\r\nNOOP\r\nLOGOUT\r\n' % (len(text), text))
        assert [client.answer() for _ in range(3)] == ["OK"] * 3


# TLS, and a client that people have

@pytest.fixture
def secure(make_postern, rsa):  # noqa: F811
    ports = [free_port(), free_port()]
    instance = make_postern(extra=rsa.statements(NAME) + "".join(
        f"listen on 127.0.0.1 port {port} sieve {word} pki {NAME}\n"
        for port, word in zip(ports, ("tls", "tls-require"))))
    instance.sieve = ports
    return instance


def test_starttls_comes_before_the_password(secure):
    for port in secure.sieve:
        with SieveClient(port) as client:
            found = client.capabilities()
            assert found["SASL"] == "" and "STARTTLS" in found
            assert client.log_in() == "NO (ENCRYPT-NEEDED)"
            # What comes behind it in the clear is dropped.
            client.send(b"STARTTLS\r\nLOGOUT\r\n")
            assert client.answer() == "OK"
            client.socket = insecure().wrap_socket(client.socket)
            assert client.answer() == "OK"
            found = client.capabilities()
            assert "PLAIN" in found["SASL"].split() and "STARTTLS" not in found
            assert client.log_in() == "OK" and client.run("LISTSCRIPTS") == "OK"


def sieve_connect(port, folder_of, *arguments, ok=True):  # noqa: F811
    done = subprocess.run(["sieve-connect", "--server", "127.0.0.1", "--port", str(port), "--user", USER,
        "--passwordfd", "0", "--notlsverify", "--nosrv", *arguments],
        input=PASSWORD + "\n", text=True, capture_output=True, timeout=30, cwd=folder_of,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder_of)})
    assert (done.returncode == 0) == ok, done
    return done.stdout + done.stderr


def test_sieve_connect_uploads_and_reads_back(secure, tmp_path):
    port = secure.sieve[1]
    (tmp_path / "mine.sieve").write_bytes(KEEP)
    (tmp_path / "bad.sieve").write_bytes(BAD)
    sieve_connect(port, tmp_path, "--localsieve", "mine.sieve", "--upload")
    sieve_connect(port, tmp_path, "--remotesieve", "mine.sieve", "--activate")
    assert "mine.sieve" in sieve_connect(port, tmp_path, "--list")
    sieve_connect(port, tmp_path, "--remotesieve", "mine.sieve", "--localsieve", "back", "--download")
    assert (tmp_path / "back").read_bytes() == KEEP
    assert "line 3" in sieve_connect(port, tmp_path, "--localsieve", "bad.sieve", "--upload", ok=False)
    assert sorted(path.name for path in scripts(secure).iterdir()) == ["active", "mine.sieve.sieve"]


def test_sievelib_uploads_and_reads_back(server, client):
    other = managesieve.Client("127.0.0.1", server.sieve)
    assert other.connect(USER, PASSWORD, authmech="PLAIN")
    assert "fileinto" in other.get_sieve_capabilities()
    assert other.havespace("mine", 100) and not other.havespace("mine", 100_000)
    assert other.putscript("mine", KEEP.decode()) and other.setactive("mine")
    assert other.putscript("other", "discard;") and other.renamescript("other", "Grüße")
    assert other.listscripts() == ("mine", ["Grüße"])
    assert other.getscript("mine").split() == KEEP.decode().split()
    assert not other.putscript("bad", BAD.decode()) and b"line 3" in other.errmsg
    assert not other.deletescript("mine") and other.errcode == b"ACTIVE"
    assert other.setactive("") and other.deletescript("mine")
    other.logout()


# Hostile clients

@pytest.fixture(params=[None, USER], ids=["before login", "after login"])
def hostile(server, request):
    with SieveClient(server.sieve, request.param) as made:
        yield made
    server.check()
    with SieveClient(server.sieve, USER) as witness:
        assert witness.run("LISTSCRIPTS") == "OK"


@pytest.mark.parametrize("text", [b"NOOP {5}\r\n", b"NOOP {18446744073709551616+}\r\n",
    b"NOOP {18446744073709551615+}\r\n", b"NOOP {9223372036854775807+}\r\n", b"NOOP {4294967297+}\r\n",
    b"NOOP {" + b"0" * 5_000_000, b"NOOP {-1+}\r\n", b"NOOP {+}\r\n", b"NOOP {}\r\n", b"NOOP {5+\r\n",
    b"NOOP {5+}xx\r\n", b"NOOP {5+}\rx\r\n", b'NOOP "' + b"x" * 5_000_000, b" " * 5_000_000,
    b"NOOP {4000000+}\r\n" + b"x" * 4_000_000 + b" {4000000+}\r\n" + b"x" * 1000],
    ids=lambda text: text[:24].decode())
def test_what_no_line_end_can_follow_ends_the_session(hostile, text):
    with contextlib.suppress(ConnectionError):
        hostile.send(text)
        assert hostile.answer() == "BYE"
        with pytest.raises(ConnectionError):
            hostile.line()


@pytest.mark.parametrize("text", [b'NOOP "x\r\n', b'NOOP "x\0y"\r\n', b'"NOOP"\r\n', b"\r\n", b"NOOP x\r\n",
    b'NOOP "a" "b"\r\n', b'NOOP "a""b"\r\n', b"NO\rOP\r\n", b"\0\r\n", b"NOOP\0\r\n", b"(NOOP)\r\n",
    b"\xff\xfe\r\n", b"NOOP " + b"a " * 1000 + b"\r\n", b'NOOP {3+}\r\na\0b "c"\r\n',
    b'NOOP x {6+}\r\nLOGOUT\r\n', b'"x {6+}\r\n', b"x" * 100_000 + b"\r\n"],
    ids=lambda text: text[:20].decode(errors="replace").replace("\0", "0"))
def test_lines_that_are_none_are_refused_and_the_next_is_understood(hostile, text):
    assert hostile.say(text).startswith("NO"), text
    assert hostile.run("NOOP") == "OK"


def test_one_error_after_the_other_ends_the_session(hostile):
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            if hostile.say("x\r\n") == "BYE":
                hostile.line()
    assert hostile.status == "BYE"


def test_a_client_that_reads_nothing_holds_nobody_up(server, client):
    client.run("PUTSCRIPT", "long", b"# 0123456789\r\n" * 4000)
    client.socket.settimeout(1)
    with contextlib.suppress(TimeoutError):
        for _ in range(100_000):
            client.send(b'GETSCRIPT "long"\r\n' * 100)
    with SieveClient(server.sieve, USER) as other:
        assert other.run("LISTSCRIPTS") == "OK"
    client.socket.settimeout(20)
    assert client.answer() == "OK"


def test_a_client_that_goes_in_the_middle_of_a_script_leaves_the_old_one(server, client):
    client.run("PUTSCRIPT", "x", KEEP)
    with SieveClient(server.sieve, USER) as other:
        other.send(b'PUTSCRIPT "x" {100+}\r\ndiscard;')
    server.wait_log("sieve-disconnected", reason="closed by the client")
    assert client.run("GETSCRIPT", "x") == "OK" and client.lines == [b'"' + KEEP + b'"']


def test_the_mail_server_says_that_it_stops(make_postern):
    port = free_port()
    instance = make_postern(extra=f"listen on 127.0.0.1 port {port} sieve auth-cleartext\n")
    with SieveClient(port) as waiting, SieveClient(port, USER) as working:
        instance.stop()
        assert waiting.answer().startswith("BYE") and working.answer().startswith("BYE")


# What can't be stored

def test_a_full_disk_is_told_and_leaves_each_script_as_it_was(make_postern, small_disk):  # noqa: F811
    disk, port = small_disk("1m"), free_port()
    instance = make_postern(mail=disk / "mail", extra=f"listen on 127.0.0.1 port {port} sieve auth-cleartext\n")
    with SieveClient(port, USER) as client:
        client.run("PUTSCRIPT", "old", KEEP)
        client.run("SETACTIVE", "old")
        filler = fill(disk)
        for name in ("old", "new"):
            assert client.run("PUTSCRIPT", name, b"# much\r\n" * 1000) == "NO (TRYLATER)", name
            assert "disk is full" in client.words
        assert client.run("LISTSCRIPTS") == "OK" and client.lines == [b'"old" ACTIVE']
        assert client.run("GETSCRIPT", "old") == "OK" and client.lines == [b'"' + KEEP + b'"']
        filler.unlink()
        assert client.run("PUTSCRIPT", "new", KEEP) == "OK"
    instance.check()


def test_a_process_killed_while_scripts_come_leaves_old_or_new_ones(server):
    server.allow(r"child-\w+.*program=mailbox")
    texts = [b"keep; # %d\r\n" % number + b"# fill\r\n" * 5000 for number in range(2)]
    with SieveClient(server.sieve, USER) as client:
        assert client.run("PUTSCRIPT", "x", texts[0]) == "OK"
        client.run("SETACTIVE", "x")
    for number in range(8):
        with SieveClient(server.sieve, USER) as client:
            pids = server.pids("mailbox")
            client.send(b"".join(b'PUTSCRIPT "x" ' + literal(texts[turn % 2]) + b"\r\n" for turn in range(9)))
            for _ in range(number):
                assert client.answer() == "OK"
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not set(pids) & set(server.pids("mailbox")), 10, "all are gone")  # noqa: B023
        with SieveClient(server.sieve, USER) as client:
            assert client.run("LISTSCRIPTS") == "OK" and client.lines == [b'"x" ACTIVE']
            assert client.run("GETSCRIPT", "x") == "OK"
            assert client.lines[0][1:-1] in texts
