"""Logins: RFC 4954's dialogues, the clients that people have, and those who guess."""

import base64
import concurrent.futures
import contextlib
import hashlib
import hmac
import re
import smtplib
import subprocess
import time

import pytest

from postern import TOP, free_port, play, wait_for
from smtp_peer import Peer

PASSWORD = "correct horse battery"
USER = "alice@example.test"
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
LISTEN = "listen on 127.0.0.1 port @PORT@ auth-optional auth-cleartext"


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def plain(user, password):
    return b64(f"\0{user}\0{password}")


@pytest.fixture
def server(make_postern):
    """With logins offered in the clear."""
    return make_postern(listen=LISTEN)


@pytest.fixture
def strict(make_postern):
    """Without a login no mail; many may fail before anything is slow."""
    return make_postern(listen=LISTEN.replace("auth-optional", "auth"),
        extra="smtp limit auth-failures 100000\nsmtp limit max-errors 100000\n")


# Dialogues

def test_the_rfcs_dialogues(server):
    """RFC 4954 4.1 and 4.4, with our mechanisms."""
    with server.wire() as wire:
        play(wire, f"""
            S: 220 *
            C: EHLO client.test
            S: ...
            S: 250-AUTH SCRAM-SHA-256 PLAIN LOGIN
            S: ...
            S: 250 HELP
            C: AUTH FOOBAR
            S: 504 5.5.4 *
            C: AUTH PLAIN
            S: 334{" "}
            C: *
            S: 501 5.7.0 *
            C: AUTH PLAIN
            S: 334{" "}
            C: {plain(USER, "wrong")}
            S: 535 5.7.8 *
            C: AUTH PLAIN {plain(USER, PASSWORD)}
            S: 235 2.7.0 *
            C: AUTH PLAIN {plain(USER, PASSWORD)}
            S: 503 5.5.1 *
            C: EHLO client.test
            S: 250-mx.example.test
            S: ...
            S: 250 HELP
            C: MAIL FROM:<{USER}> AUTH={USER}
            S: 250 *
            C: AUTH LOGIN
            S: 503 5.5.1 *
            C: RSET
            S: 250 *
            C: QUIT
            S: 221 *
            """)
    with server.wire() as wire:
        play(wire, f"""
            S: 220 *
            C: AUTH PLAIN {plain(USER, PASSWORD)}
            S: 503 5.5.1 *
            C: HELO client.test
            S: 250 *
            C: AUTH PLAIN {plain(USER, PASSWORD)}
            S: 503 5.5.1 *
            C: EHLO client.test
            S: ...
            S: 250 HELP
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: {b64(USER)}
            S: 334 UGFzc3dvcmQ6
            C: {b64(PASSWORD)}
            S: 235 2.7.0 *
            """)


class Scram:
    """The client's side of RFC 7677, to be let go wrong at any step."""

    def __init__(self, user=USER, password=PASSWORD, header="n,,"):
        self.password = password
        self.header = header
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r=clientsnonce"

    def first(self):
        return b64(self.header + self.bare)

    def final(self, challenge, nonce=None, iterations=None, binding=None):
        self.server_first = base64.b64decode(challenge).decode()
        fields = dict(field.split("=", 1) for field in self.server_first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
            base64.b64decode(fields["s"]), iterations or int(fields["i"]))
        channel = b64(self.header if binding is None else binding)
        without = f"c={channel},r={nonce or fields['r']}"
        message = f"{self.bare},{self.server_first},{without}".encode()
        client = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client, signature))
        server = hmac.digest(salted, b"Server Key", "sha256")
        self.expected = "v=" + b64(hmac.digest(server, message, "sha256"))
        return b64(f"{without},p={b64(proof)}")


def scram(wire, client, **wrong):
    """Up to the reply that ends it."""
    reply = wire.command(f"AUTH SCRAM-SHA-256 {client.first()}")
    if reply.code != 334:
        return reply
    reply = wire.command(client.final(reply.lines[0], **wrong))
    if reply.code != 334:
        return reply
    assert base64.b64decode(reply.lines[0]).decode() == client.expected
    return wire.command("")


def test_scram(server):
    with server.wire() as wire:
        wire.hello()
        assert scram(wire, Scram(password="wrong")).code == 535
        assert scram(wire, Scram(user="nobody@example.test")).code == 535
        assert scram(wire, Scram(), nonce="clientsnonce").code == 535
        assert scram(wire, Scram(), iterations=1).code == 535
        assert scram(wire, Scram(), binding="y,,").code == 535
        assert scram(wire, Scram(header="p=tls-exporter,,")).code == 535
        assert scram(wire, Scram()).code == 235
    server.wait_log("auth-ok", user=USER, mechanism="SCRAM-SHA-256", address="127.0.0.1")


def test_a_changed_password_is_another_verifier(server):
    server.smtpctl("user", "passwd", USER, input="other\n")
    with server.wire() as wire:
        wire.hello()
        assert scram(wire, Scram()).code == 535
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 535)
        assert scram(wire, Scram(password="other")).code == 235


# Clients

def message_of(server, user=USER):
    server.wait_log("message-accepted", user=user)
    return server.wait_mail("bob@example.test")[-1]


def test_smtplib(server):
    for mechanism in ("plain", "login"):
        with server.smtp() as client:
            client.ehlo()
            client.user, client.password = USER, PASSWORD
            client.auth(mechanism, getattr(client, f"auth_{mechanism}"))
            client.sendmail(USER, ["bob@example.test"], MESSAGE)
        server.wait_log("auth-ok", mechanism=mechanism.upper())
    assert b"with ESMTPA id" in message_of(server).data


def test_swaks(server, tool):
    for mechanism in ("PLAIN", "LOGIN"):
        words = [tool("swaks"), "--server", "127.0.0.1", "--port", str(server.port), "--from", USER,
            "--to", "bob@example.test", "--auth", mechanism, "-au", USER, "-ap"]
        wrong = subprocess.run(words + ["wrong"], capture_output=True, text=True)
        assert wrong.returncode == 28, wrong.stdout  # "error during authentication"
        right = subprocess.run(words + [PASSWORD], capture_output=True, text=True)
        assert right.returncode == 0, right.stdout
        server.wait_log("auth-ok", mechanism=mechanism)
    message_of(server)


def test_msmtp(server, tool):
    for mechanism in ("plain", "login", "scram-sha-256"):
        words = [tool("msmtp"), "-C", "/dev/null", "--host=127.0.0.1", f"--port={server.port}",
            f"--auth={mechanism}", f"--user={USER}", f"--from={USER}", "--tls=off",
            f"--passwordeval=echo '{PASSWORD}'", "bob@example.test"]
        done = subprocess.run(words, input=MESSAGE, capture_output=True)
        assert done.returncode == 0, (mechanism, done.stderr)
        server.wait_log("auth-ok", mechanism=mechanism.upper())
    message_of(server)


def test_fail2ban_finds_the_guesser(server, tool):
    with server.wire() as wire:
        wire.hello()
        for user in ("x", USER, 'y address=192.0.2.66 user="', "z\nauth-failed address=192.0.2.66"):
            wire.command(f"AUTH PLAIN {plain(user, 'wrong')}", 535)
    server.wait_log("auth-failed", count=4)
    lines = server.base / "failed"
    lines.write_text("".join(line.text + "\n" for line in server.log_lines("auth-failed")) +
        "Nov 28 22:42:08 mx directory[24637]: auth-failed session=c08d961f14c288a2 service=smtp "
        "address=IPv6:2001:db8::7 user=x mechanism=PLAIN reason=\"unknown user\"\n")
    done = subprocess.run([tool("fail2ban-regex"), "--print-all-matched", "-v", str(lines),
        str(TOP / "etc/fail2ban/filter.d/postern.conf")], capture_output=True, text=True)
    assert "Lines: 5 lines, 0 ignored, 5 matched, 0 missed" in done.stdout, done.stdout
    assert done.stdout.count("127.0.0.1  ") >= 4, done.stdout
    assert "2001:db8::7  " in done.stdout and "192.0.2.66  " not in done.stdout, done.stdout


# Who may send what

def test_mail_needs_a_login_where_it_is_required(strict):
    with strict.wire() as wire:
        wire.hello()
        wire.command(f"MAIL FROM:<{USER}>", 530, "5.7.0")
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        wire.command(f"MAIL FROM:<{USER}>", 250)


def test_users_send_as_themselves_only(server):
    with server.wire() as wire:
        wire.hello()
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        for sender, code in ((USER, 250), ("Alice+x@EXAMPLE.test", 250), ("team@example.test", 250),
                ("", 250), ("bob@example.test", 550), ("alice@elsewhere.test", 550)):
            wire.command(f"MAIL FROM:<{sender}>", 250)
            wire.command("RCPT TO:<bob@example.test>", code, "5.7.1" if code == 550 else None)
            wire.command("RSET", 250)


def test_a_table_says_who_sends_as_whom(make_postern):
    server = make_postern(listen=LISTEN.replace("auth-optional", "auth <people>") + ' senders { tim = "@elsewhere.test, a@b.test" }',
        extra='table people { tim = "{PLAIN}secret" }')
    with server.wire() as wire:
        wire.hello()
        wire.command(f"AUTH PLAIN {plain('tim', 'secret')}", 235)
        for sender, code in (("x@elsewhere.test", 250), ("a@b.test", 250), ("c@b.test", 550)):
            wire.command(f"MAIL FROM:<{sender}>", 250)
            wire.command("RCPT TO:<bob@example.test>", code)
            wire.command("RSET", 250)


def test_rules_name_who_has_logged_in(make_postern):
    server = make_postern(listen=LISTEN, rules="""
        action "in" maildir virtual <accounts>
        match from auth { "alice@example.test" } for domain <accounts> action "in"
        match auth from any for rcpt-to "carol@example.test" reject
        """)
    with server.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<x@client.test>", 250)
        wire.command("RCPT TO:<bob@example.test>", 550)
        wire.command("RSET", 250)
        wire.command(f"AUTH PLAIN {plain('bob@example.test', PASSWORD)}", 235)
        wire.command("MAIL FROM:<bob@example.test>", 250)
        wire.command("RCPT TO:<bob@example.test>", 550)
    with server.wire() as wire:
        wire.hello()
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        wire.command(f"MAIL FROM:<{USER}>", 250)
        wire.command("RCPT TO:<bob@example.test>", 250)


# What is put right in what users send

def submit(wire, text, sender=USER, rcpt="bob@example.test"):
    wire.command(f"MAIL FROM:<{sender}>", 250)
    wire.command(f"RCPT TO:<{rcpt}>", 250)
    wire.command("DATA", 354)
    wire.send(text + ".\r\n")
    wire.expect(250)


def test_the_header_of_a_submitted_message_is_put_right(make_postern):
    server = make_postern(listen=LISTEN + ' mask-src received-auth senders '
        '{ "alice@example.test" = "alice@example.test" } masquerade')
    text = ("From: The Boss <boss@example.test>\r\nBcc: secret@example.test,\r\n more@example.test\r\n"
        "Subject: x\r\n\r\nBcc: body\r\n")
    with server.wire() as wire:
        wire.hello()
        submit(wire, text, sender="x@client.test")
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        submit(wire, text)
        # BDAT, in two pieces within a field's name
        wire.command(f"MAIL FROM:<{USER}>", 250)
        wire.command("RCPT TO:<bob@example.test>", 250)
        wire.send("BDAT 8\r\nSubjectB")
        wire.expect(250)
        wire.send("BDAT 5 LAST\r\ncc: x")
        wire.expect(250)
    # In the order in which they came.
    mails = sorted(server.wait_mail("bob@example.test", count=3), key=lambda mail: len(mail.data))
    bdat, other, mine = (next(mail for mail in mails if part in mail.data)
        for part in (b"SubjectBcc: x", b"Bcc: secret", b"The Boss <alice@example.test>"))
    assert text.replace("\r", "").encode() in other.data and b"\nDate:" not in other.data
    assert b"Bcc: secret" not in mine.data and b"more@" not in mine.data
    assert mine.message["Date"] and re.fullmatch(r"<[0-9a-f.]+@mx\.example\.test>",
        mine.message["Message-ID"])
    assert str(mine.message["From"]) == "The Boss <alice@example.test>"
    assert mine.data.endswith(b"\n\nBcc: body\n")
    assert bdat.message["Date"] and b"\nFrom: <alice@example.test>\n" in bdat.data
    received = mine.message["Received"]
    assert received.startswith("by mx.example.test (Postern) with ESMTPA id"), received
    assert "(authenticated as alice@example.test)" in received and "127.0.0.1" not in received


def test_who_has_logged_in_sends_to_the_world(make_postern):
    with Peer(port=None) as peer:
        server = make_postern(listen=LISTEN + " mask-src", rules=f"""
            action "in" maildir virtual <accounts>
            action "out" relay host "smtp+notls://[{peer.address}]:{peer.port}"
            match from any for domain <accounts> action "in"
            match from auth for any action "out"
            """)
        with server.wire() as wire:
            wire.hello()
            wire.command(f"MAIL FROM:<{USER}>", 250)
            wire.command("RCPT TO:<x@far.test>", 550)
            wire.command("RSET", 250)
            wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
            submit(wire, "Bcc: y@far.test\r\nSubject: x\r\n\r\nx\r\n", rcpt="x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.sender == USER and message.recipients == ["x@far.test"]
        assert b"with ESMTPA id" in message.data and b"\nMessage-ID: <" in message.data
        assert b"Bcc" not in message.data and b"127.0.0.1" not in message.data


def test_an_hourly_limit_refuses(make_postern):
    server = make_postern(listen=LISTEN, extra="smtp limit user-mails-per-hour 3\n")
    with server.wire() as wire:
        wire.hello()
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        submit(wire, "Subject: 1\r\n\r\n")
        wire.command(f"MAIL FROM:<{USER}>", 250)
        wire.command("RCPT TO:<nobody@example.test>", 550)  # doesn't count
        for code in (250, 250, 450, 450):
            wire.command("RCPT TO:<team@example.test>", code)
        wire.command("DATA", 354)
        wire.send("Subject: 2\r\n\r\n.\r\n")
        wire.expect(250)
    with server.wire() as wire:  # others may still
        wire.hello()
        wire.command(f"AUTH PLAIN {plain('bob@example.test', PASSWORD)}", 235)
        submit(wire, "Subject: 3\r\n\r\n", sender="bob@example.test")
    assert len(server.log_lines("user-over-limit", user=USER, action="refuse")) == 1


def test_an_hourly_limit_holds_until_released(make_postern):
    server = make_postern(listen=LISTEN, extra="smtp limit user-mails-per-hour 1 hold\npostmaster \"carol@example.test\"\n")
    server.add_user("carol@example.test")
    with server.wire() as wire:
        wire.hello()
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        for number in range(3):
            submit(wire, f"Subject: {number}\r\n\r\n")
    server.wait_mail("bob@example.test")
    (notice,) = server.wait_mail("carol@example.test")  # one for all of them
    assert notice.message["Subject"] == "Mail is held" and b"smtpctl release" in notice.data
    wait_for(lambda: len(server.queue()) == 2)
    assert {envelope["state"] for envelope in server.queue()} == {"held"}
    server.restart()
    assert {envelope["state"] for envelope in server.queue()} == {"held"}
    server.smtpctl("schedule", "from", USER)
    assert len(server.queue()) == 2 and len(server.mails("bob@example.test")) == 1
    assert server.smtpctl("release", "from", USER).stdout.startswith("2 envelopes")
    assert {mail.message["Subject"] for mail in server.wait_mail("bob@example.test", count=3)} == {
        "0", "1", "2"}
    server.wait_queue_empty()
    assert len(server.mails("carol@example.test")) == 1


# Passwords as others keep them

def test_a_dovecot_passwd_file(make_postern):
    salt = b"saltsalt"
    digest = b64(hashlib.sha256(b"secret" + salt).digest() + salt)
    server = make_postern(start=False, listen=LISTEN.replace("auth-optional", "auth <users>"),
        extra="table users file:@BASE@/users")
    (server.base / "users").write_text(
        f"# Dovecot's\ntim:{{SSHA256}}{digest}:1000:1000:Tim:/home/tim:/bin/sh:userdb_quota=1\n"
        f"ann@example.test:{{PLAIN}}open:1001:1001::/home/ann::\n")
    (server.base / "users").chmod(0o644)
    server.start()
    with server.wire() as wire:
        assert not any("SCRAM" in line for line in wire.hello())
        wire.command(f"AUTH PLAIN {plain('tim', 'wrong')}", 535)
        wire.command(f"AUTH PLAIN {plain('nobody', 'secret')}", 535)
        wire.command(f"AUTH PLAIN {plain('tim', 'secret')}", 235)
    with server.wire() as wire:
        wire.hello()
        wire.command(f"AUTH PLAIN {plain('Ann@example.test', 'open')}", 235)


# Hostile clients

MALFORMED = ["AUTH", "AUTH ", "AUTH PLAIN =a", "AUTH PLAIN " + "A" * 1001,
    "AUTH PLAIN AAAA=AAA", "AUTH PLAIN QUJD====", "AUTH PLAIN " + b64("a\0b\0c\0d"),
    "AUTH PLAIN " + b64("\0\0x"), "AUTH PLAIN " + b64("\0x\0"), "AUTH LOGIN " + b64("\0"),
    "AUTH SCRAM-SHA-256 " + b64("n,,n=,r="), "AUTH SCRAM-SHA-256 ="]
ODD_NAMES = ["a\r\nX: y@example.test", "../alice", "x" * 255, "a" * 65 + "@example.test",
    "alice@example.test ", "@example.test", "alice@", '"alice"@x', "\u00e4lice@example.test",
    "alice@example.test\x00", "-", "alice@[127.0.0.1]"]


def test_malformed_logins_and_odd_names(strict):
    with strict.wire() as wire:
        wire.hello()
        for line in MALFORMED:
            assert wire.command(line).code in (501, 504, 535), line
            wire.command("NOOP", 250)
        for name in ODD_NAMES:
            wire.command(f"AUTH PLAIN {plain(name, PASSWORD)}", 535)
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
    assert all(re.fullmatch(r"[ -~]*", line) for line in strict.log_text().splitlines())


def test_a_megabyte_of_base64(server):
    with server.wire() as wire:
        wire.hello()
        wire.command("AUTH PLAIN", 334)
        wire.send(b"A" * (1024 * 1024))
        wire.expect(500, "5.5.6")
        wire.expect(421)
        assert wire.is_closed()


def test_no_secret_is_in_the_log(server):
    server.smtpctl("trace", "all")
    server.smtpctl("log", "verbose")
    secret = b64("open sesame, " + PASSWORD)
    with server.wire() as wire:
        wire.expect(220)
        wire.command("AUTH LOGIN", 503)  # goes on as if it weren't refused
        wire.command(secret, 500)
        wire.command(secret + " " + secret, 500)
        wire.command("EHLO client.test", 250)
        wire.command("AUTH LOGIN", 334)
        wire.command(secret, 334)
        wire.command("*", 501)
        wire.command(secret, 500)
        wire.command("AUTH LOGIN", 334)
        wire.command(secret + "!", 501)
        wire.command(f"AUTH XOAUTH2 {secret}", 504)
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
    server.smtpctl("untrace", "all")
    text = server.log_text()
    assert secret not in text and PASSWORD not in text and plain(USER, PASSWORD) not in text
    assert server.log_lines("auth-ok", user=USER)


def timed(wire, user, password):
    start = time.perf_counter()
    reply = wire.command(f"AUTH PLAIN {plain(user, password)}", 535)
    return time.perf_counter() - start, (reply.code, reply.lines)


def test_unknown_users_are_answered_alike_and_as_slowly(strict):
    known, unknown, replies = [], [], set()
    with strict.wire() as wire:
        wire.hello()
        for number in range(40):
            for user, times in ((USER, known), (f"user{number}@example.test", unknown)):
                seconds, reply = timed(wire, user, f"wrong{number}")
                times.append(seconds)
                replies.add(str(reply))
    assert len(replies) == 1, replies
    # The least of many: what else the machine does only adds to it.
    assert 0.8 < min(known) / min(unknown) < 1.25


def test_scram_doesnt_tell_who_there_is(strict):
    def challenge(user):
        with strict.wire() as wire:
            wire.hello()
            reply = wire.command(f"AUTH SCRAM-SHA-256 {Scram(user=user).first()}", 334)
            return base64.b64decode(reply.lines[0]).decode().split(",", 1)[1]
    assert challenge("nobody@example.test") == challenge("nobody@example.test")
    assert challenge("nobody@example.test") != challenge("nobody2@example.test")
    assert len(challenge("nobody@example.test")) == len(challenge(USER))


def proxy(address):
    import test_smtp_listeners
    return test_smtp_listeners.header(address)


def guess(server, address, user, password):
    """The reply's code and how long it took, from this address."""
    start = time.monotonic()
    with server.wire(timeout=60) as wire:
        wire.send(proxy(address))
        wire.hello()
        code = wire.command(f"AUTH PLAIN {plain(user, password)}").code
    return code, time.monotonic() - start


def test_guessing_slows_down_the_guesser_alone(make_postern):
    server = make_postern(start=False, extra="smtp limit auth-failures 5\n")
    behind = free_port()
    server.listen = (f"listen on 127.0.0.1 port @PORT@\n"
        f"listen on 127.0.0.1 port {behind} proxy-v2 auth auth-cleartext\n")
    server.start()
    server.add_domain("example.test")
    server.add_user(USER)
    server.add_user("bob@example.test")
    server.port = behind
    assert guess(server, "198.51.100.1", USER, PASSWORD)[0] == 235
    for number in range(5):
        assert guess(server, f"192.0.2.{number}", f"user{number}@example.test", "x")[0] == 535
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        flood = [pool.submit(guess, server, f"192.0.2.{number}", USER, f"wrong{number}")
            for number in range(24)]
        wait_for(lambda: len(server.log_lines("smtp-connected")) >= 24, what="the flood")
        # The owner, at home; somebody else, elsewhere.
        code, seconds = guess(server, "198.51.100.7", USER, PASSWORD)
        assert code == 235 and seconds < 5
        code, seconds = guess(server, "203.0.113.1", "bob@example.test", PASSWORD)
        assert code == 235 and seconds < 5
        answers = [future.result() for future in flood]
    assert {code for code, _ in answers} <= {535, 454}
    assert max(seconds for _, seconds in answers) < 35
    looked_at = [seconds for code, seconds in answers if code == 535]
    assert max(looked_at) > 3
    shown = server.smtpctl("show", "banned").stdout
    assert re.search(r"^network\|192\.0\.2\.0/24\|\d+\|2000\|\d+$", shown, re.M), shown
    assert re.search(rf"^account\|{USER}\|\d+\|2000\|\d+$", shown, re.M), shown
    assert "198.51.100" not in shown and "203.0.113" not in shown
    # And a right password from there waits, but is taken.
    code, seconds = guess(server, "192.0.2.99", USER, PASSWORD)
    assert code == 235 and seconds > 1


def test_guesses_from_many_networks_keep_no_owner_out(make_postern):
    """Hundreds wait for an answer, each from a network of its own."""
    behind = free_port()
    server = make_postern(listen="listen on 127.0.0.1 port @PORT@\n"
        f"listen on 127.0.0.1 port {behind} proxy-v2 auth auth-cleartext\n",
        extra="smtp limit auth-failures 5\n")
    server.port = behind
    assert guess(server, "198.51.100.1", USER, PASSWORD)[0] == 235
    with contextlib.ExitStack() as stack:
        for number in range(200):
            wire = stack.enter_context(server.wire())
            wire.send(proxy(f"10.{number // 100}.{number % 100}.1"))
            wire.hello()
            wire.send(f"AUTH PLAIN {plain(USER, f'wrong{number}')}\r\n")
        code, seconds = guess(server, "198.51.100.7", USER, PASSWORD)
        assert code == 235 and seconds < 5
        code, seconds = guess(server, "203.0.113.1", "bob@example.test", PASSWORD)
        assert code == 235 and seconds < 5
    assert f"account|{USER}|" in server.smtpctl("show", "banned").stdout
