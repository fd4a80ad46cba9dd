"""TLS on listeners: STARTTLS and from the first byte, certificates by name, by kind of key and over
time, client certificates, and what a client must not get away with."""

import hashlib
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import time

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import free_port, wait_for
from test_auth import PASSWORD, USER, Scram, plain

NAME = "mx.example.test"


class Pair:
    """A key and a certificate, made by openssl(1): `key`, `cert` are paths."""

    def __init__(self, folder, name, kind="rsa", names=None, issuer=None, days=30):
        self.key, self.cert = folder / f"{name}.key", folder / f"{name}.crt"
        algorithm = {"rsa": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "ec": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ed25519": ["ED25519"]}[kind]
        self.run("genpkey", "-algorithm", *algorithm, "-out", self.key)
        os.chmod(self.key, 0o600)
        alternatives = ",".join("DNS:" + n for n in names or [name])
        self.run("req", "-new", "-x509", "-key", self.key, "-out", self.cert, "-days", days,
            "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}",
            *(["-CA", issuer.cert, "-CAkey", issuer.key] if issuer else []))

    @staticmethod
    def run(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def statements(self, name):
        return f'pki {name} cert "{self.cert}"\npki {name} key "{self.key}"\n'

    def replace_by(self, other):
        """As certbot does: each file by a rename."""
        for mine, theirs in ((self.cert, other.cert), (self.key, other.key)):
            copy = mine.with_suffix(".new")
            shutil.copy(theirs, copy)
            os.chmod(copy, 0o600)
            os.rename(copy, mine)

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.cert.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="module")
def rsa(folder):
    return Pair(folder, NAME)


@pytest.fixture(scope="module")
def ec(folder):
    return Pair(folder, "ec." + NAME, "ec", [NAME, "other.example.test"])


@pytest.fixture(scope="module")
def authority(folder):
    return Pair(folder, "authority", "ec")


@pytest.fixture
def serve(make_postern):
    """serve(statements, options): an instance whose second listener has these options; its port is
    instance.tls_port."""

    def start(statements, options, more="", **arguments):
        port = free_port()
        instance = make_postern(
            extra=f"{statements}listen on 127.0.0.1 port {port} hostname {NAME} {options}\n{more}",
            **arguments)
        instance.tls_port = port
        return instance
    return start


def client_context(*trusted, version=None, certificate=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in trusted:
        context.load_verify_locations(pair.cert)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(certificate.cert, certificate.key)
    return context


def starttls(instance, context=None, name=NAME, wire=None):
    """A Wire after STARTTLS; `wire.socket` is the ssl.SSLSocket."""
    wire = wire or instance.wire(instance.tls_port)
    if not wire.transcript:
        wire.hello()
    wire.command("STARTTLS", 220)
    assert wire.buffer == b""
    if context is None:
        context = client_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    wire.socket = context.wrap_socket(wire.socket, server_hostname=name)
    return wire


def insecure(version=None):
    context = client_context(version=version)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def send_message(wire, words="hello", hello=True):
    if hello:
        wire.command("EHLO client.test", 250)
    wire.command("MAIL FROM:<erin@client.test>", 250)
    wire.command("RCPT TO:<alice@example.test>", 250)
    wire.command("DATA", 354)
    wire.send(f"Subject: {words}\r\n\r\n{words}\r\n.\r\n")
    return wire.expect(250)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_message_comes_by_starttls_and_its_trace_says_so(serve, rsa, version):
    instance = serve(rsa.statements("mx"), "tls pki mx")
    with starttls(instance, client_context(rsa, version=version)) as wire:
        cipher, protocol, _ = wire.socket.cipher()
        send_message(wire)
        wire.command("QUIT", 221)
        assert wire.socket.recv(10) == b""  # close_notify, or an SSLError
    (mail,) = instance.wait_mail("alice@example.test")
    received = mail.message["Received"]
    assert "with ESMTPS" in received
    assert f"({protocol} {cipher})" in received
    line = instance.wait_log("tls-started", sni=NAME)
    assert (line["tls"], line["cipher"]) == (protocol, cipher)
    ended = instance.wait_log("smtp-disconnected", session=line["session"])
    assert ended["tls"] == protocol


def test_smtps_speaks_tls_from_the_first_byte(serve, rsa):
    instance = serve(rsa.statements("mx"), "smtps pki mx")
    context = client_context(rsa)
    context.check_hostname = False  # smtplib knows only an address
    with smtplib.SMTP_SSL("127.0.0.1", instance.tls_port, context=context, timeout=20) as client:
        client.ehlo("client.test")
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 503
        client.sendmail("erin@client.test", "alice@example.test", "Subject: x\r\n\r\nx\r\n")
    instance.wait_mail("alice@example.test")
    with instance.wire(instance.tls_port) as wire:  # no greeting in the clear
        wire.send("EHLO client.test\r\n")
        wire.socket.settimeout(10)
        assert b"220" not in wire.socket.recv(1000)
    instance.wait_log("tls-failed", count=1)


def test_what_was_said_before_the_handshake_is_forgotten(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls pki mx")
    wire = instance.wire(instance.tls_port)
    assert "STARTTLS" in wire.hello()
    wire.command("MAIL FROM:<erin@client.test>", 250)
    wire.command("RCPT TO:<alice@example.test>", 250)
    with starttls(instance, client_context(rsa), wire=wire):
        wire.command("DATA", 503)
        wire.command("MAIL FROM:<erin@client.test>", 503)
        assert "STARTTLS" not in {line.upper()
            for line in wire.command("EHLO client.test", 250).lines}
        wire.command("STARTTLS", 503)
        send_message(wire)


@pytest.mark.parametrize("behind", [b"RSET\r\n", b"E", b"EHLO evil.test\r\nMAIL FROM:<e@evil.test>\r\n"])
def test_commands_sent_ahead_of_the_handshake_end_the_session(serve, rsa, behind):
    instance = serve(rsa.statements("mx"), "tls pki mx")
    with instance.wire(instance.tls_port) as wire:
        wire.hello()
        wire.send(b"STARTTLS\r\n" + behind)
        wire.expect(554)
        assert wire.is_closed()
    assert not instance.log_lines("tls-started")


def test_commands_that_come_with_the_reply_are_no_commands(serve, rsa):
    """Between the reply and the handshake: bytes in the clear are a broken handshake, not input."""
    instance = serve(rsa.statements("mx"), "tls pki mx")
    with instance.wire(instance.tls_port) as wire:
        wire.hello()
        wire.command("STARTTLS", 220)
        wire.send("EHLO evil.test\r\nMAIL FROM:<e@evil.test>\r\n")
        assert wire.is_closed()
    assert instance.wait_log("tls-failed")["reason"]


def test_a_listener_that_requires_tls_takes_nothing_before_it(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls-require pki mx")
    wire = instance.wire(instance.tls_port)
    wire.hello()
    for command in ("MAIL FROM:<erin@client.test>", "RCPT TO:<alice@example.test>", "DATA", "RSET",
            "VRFY alice", "HELO client.test"):
        wire.command(command, 530, "STARTTLS")
    wire.command("NOOP", 250)
    wire.command("STARTTLS x", 501)
    with starttls(instance, client_context(rsa), wire=wire):
        send_message(wire)


def test_the_name_and_the_client_s_abilities_choose_the_certificate(serve, folder, rsa, ec):
    third = Pair(folder, "third.example.test", "ed25519")
    instance = serve(rsa.statements("a") + ec.statements("b") + third.statements("c"),
        "tls pki a pki b pki c")

    def shown(name, *options):
        words = ["openssl", "s_client", "-starttls", "smtp", "-connect",
            f"127.0.0.1:{instance.tls_port}", *options]
        words += ["-servername", name] if name else ["-noservername"]
        result = subprocess.run(words, input=b"QUIT\n", capture_output=True, timeout=20)
        text = re.search(rb"-----BEGIN CERT.*?END CERTIFICATE-----\n", result.stdout, re.DOTALL)
        return text and ssl.PEM_cert_to_DER_cert(text.group(0).decode())
    assert shown("third.example.test") == third.der
    assert shown(NAME, "-sigalgs", "ECDSA+SHA256") == ec.der
    assert shown(NAME, "-sigalgs", "RSA-PSS+SHA256") == rsa.der
    assert shown("other.example.test", "-sigalgs", "RSA-PSS+SHA256") == rsa.der
    assert shown("unknown.example.test", "-sigalgs", "RSA-PSS+SHA256") == rsa.der
    assert shown(None, "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256") in (rsa.der, ec.der)


def test_a_reload_shows_new_certificates_and_ends_no_session(serve, folder):
    pair = Pair(folder, "reload." + NAME, "ec", [NAME])
    instance = serve(pair.statements("mx"), "tls pki mx")
    old = pair.der
    with starttls(instance) as wire, instance.wire(instance.tls_port) as plain:
        assert wire.socket.getpeercert(True) == old
        plain.hello()
        pair.replace_by(Pair(folder, "new", "rsa", [NAME]))
        instance.reload()
        with starttls(instance) as later:
            assert later.socket.getpeercert(True) == pair.der != old
        send_message(wire)
        # One that had begun in the clear may go on with either certificate.
        with starttls(instance, wire=plain):
            send_message(plain)


def test_a_pair_that_does_not_fit_fails_the_reload_and_changes_nothing(serve, folder):
    pair = Pair(folder, "misfit." + NAME, "ec", [NAME])
    other = Pair(folder, "stranger", "ec", [NAME])
    instance = serve(pair.statements("mx"), "tls pki mx")
    old = pair.der
    shutil.copy(other.key, pair.key)
    for _ in range(3):
        answer = instance.smtpctl("reload", check=False)
        assert answer.returncode != 0
        assert "isn't the one of the certificate" in answer.stdout + answer.stderr
        with starttls(instance) as wire:
            assert wire.socket.getpeercert(True) == old
    os.chmod(pair.key, 0o644)
    answer = instance.smtpctl("reload", check=False)
    assert "chmod 600" in answer.stdout + answer.stderr
    instance.allow("reload-failed")
    with starttls(instance) as wire:
        send_message(wire)


def test_changed_files_are_picked_up_within_half_a_minute(serve, folder, faults):
    pair = Pair(folder, "watched." + NAME, "ec", [NAME])
    instance = serve(pair.statements("mx"), "tls pki mx", environment=faults.environment)
    old = pair.der
    # A new certificate whose key hasn't come yet: nothing changes, and it is told once.
    new = Pair(folder, "renewed", "ec", [NAME])
    shutil.copy(new.cert, pair.cert)
    with faults.set("smtpd", seconds=31):
        wait_for(lambda: "pki mx stays as it was" in instance.log_text(), what="a misfit is told")
        with starttls(instance) as wire:
            assert wire.socket.getpeercert(True) == old
        faults["seconds"] = 62
        pair.replace_by(new)
        faults["seconds"] = 93
        instance.wait_log("certificate-replaced", pki="mx")
    assert instance.log_text().count("pki mx stays as it was") == 1
    with starttls(instance) as wire:
        assert wire.socket.getpeercert(True) == pair.der != old
        send_message(wire)


def test_certificates_that_end_soon_are_told(serve, folder):
    soon = Pair(folder, "soon", "ec", [NAME], days=3)
    instance = serve(soon.statements("mx"), "tls pki mx")
    assert "certificate of pki mx expires within 3 days" in instance.log_file.read_text()


@pytest.mark.root
def test_without_root_the_key_is_the_caller_s(make_postern):
    port = free_port()

    def extra(instance):
        pair = Pair(instance.base, NAME, "ec")
        for path in (pair.key, pair.cert):
            shutil.chown(path, "nobody")
        return f"{pair.statements('mx')}listen on 127.0.0.1 port {port} smtps pki mx\n"
    instance = make_postern(user="nobody", extra=extra)
    with smtplib.SMTP_SSL("127.0.0.1", port, context=insecure(), timeout=20) as client:
        client.sendmail("erin@client.test", "alice@example.test", "Subject: x\r\n\r\nx\r\n")
    instance.wait_mail("alice@example.test")


@pytest.mark.parametrize("fault", ["mismatch", "mode", "missing", "encrypted"])
def test_a_start_with_a_bad_key_fails_with_words(make_postern, folder, fault):
    pair = Pair(folder, "start." + fault, "ec", [NAME])
    words = {"mismatch": "isn't the one of the certificate", "mode": "chmod 600",
        "missing": "No such file", "encrypted": "encrypted"}[fault]
    if fault == "mismatch":
        shutil.copy(Pair(folder, "start.other", "ec").key, pair.key)
    elif fault == "mode":
        os.chmod(pair.key, 0o640)
    elif fault == "missing":
        pair.key.unlink()
    else:
        Pair.run("ec", "-in", pair.key, "-aes128", "-passout", "pass:secret", "-out", pair.key)
        os.chmod(pair.key, 0o600)
    instance = make_postern(start=False, extra=pair.statements("mx") +
        f"listen on 127.0.0.1 port {free_port()} tls pki mx\n")
    instance.write_config()
    process = subprocess.run([instance.stage / "usr/sbin/smtpd", "-d", "-f", instance.config_file],
        capture_output=True, text=True, timeout=30)
    assert process.returncode != 0
    assert words in process.stderr, process.stderr


def test_a_client_shows_a_certificate_where_one_is_asked_for(serve, folder, rsa, authority):
    known = Pair(folder, "client.example.test", "ec", issuer=authority)
    stranger = Pair(folder, "stranger.example.test", "ec")
    instance = serve(rsa.statements("mx") + f'ca inside cert "{authority.cert}"\n',
        "tls verify ca inside pki mx")
    with starttls(instance, client_context(rsa, certificate=known)) as wire:
        send_message(wire)
    assert instance.wait_log("tls-started")["subject"] == "CN=client.example.test"
    for certificate in (None, stranger):
        context = client_context(rsa, version=ssl.TLSVersion.TLSv1_2, certificate=certificate)
        with pytest.raises(ssl.SSLError):
            starttls(instance, context)
    instance.wait_log("tls-failed", count=2)


def test_a_session_is_resumed_by_its_ticket_on_any_listener_process(serve, rsa):
    instance = serve(rsa.statements("mx"), "smtps pki mx")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_context(rsa, version=version)
        session = None
        for turn in range(6):
            plain = socket.create_connection(("127.0.0.1", instance.tls_port), timeout=20)
            with context.wrap_socket(plain, server_hostname=NAME, session=session) as client:
                assert client.recv(100).startswith(b"220 ")
                assert client.session_reused == (turn > 0)
                session = client.session
                client.sendall(b"QUIT\r\n")
                while client.recv(1000):
                    pass


def test_a_listener_gives_no_tickets_when_told_so(serve, rsa):
    def tickets(port, version):
        answer = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls",
            "smtp", "-crlf", "-nocommands", "-ign_eof", version], input="QUIT\n", text=True,
            capture_output=True, check=True, timeout=20).stdout
        assert "221 2.0.0" in answer
        return answer.count("TLS session ticket:")

    def session(port, context, given=None):
        wire = instance.wire(port)
        wire.hello()
        wire.command("STARTTLS", 220)
        wire.socket = context.wrap_socket(wire.socket, server_hostname=NAME, session=given)
        with wire:
            return wire.socket.session, wire.socket.session_reused
    port = free_port()
    instance = serve(rsa.statements("mx"), "tls pki mx",
        f"listen on 127.0.0.1 port {port} tls pki mx no-tickets\n")
    for version in ("-tls1_2", "-tls1_3"):
        assert tickets(instance.tls_port, version) == 1
        assert tickets(port, version) == 0
    # And those that other listeners gave aren't taken here.
    context = client_context(rsa, version=ssl.TLSVersion.TLSv1_2)
    given, _ = session(instance.tls_port, context)
    assert session(instance.tls_port, context, given)[1]
    assert not session(port, context, given)[1]


def test_tickets_outlive_one_change_of_their_keys(serve, rsa, faults):
    instance = serve(rsa.statements("mx"), "smtps pki mx", environment=faults.environment,
        verbose=True)
    context = client_context(rsa, version=ssl.TLSVersion.TLSv1_2)

    def visit(session):
        plain = socket.create_connection(("127.0.0.1", instance.tls_port), timeout=20)
        with context.wrap_socket(plain, server_hostname=NAME, session=session) as client:
            client.sendall(b"QUIT\r\n")
            return client.session_reused, client.session
    def change(seconds, times):
        faults["seconds"] = seconds
        wait_for(lambda: instance.log_text().count("new keys for session tickets") == times)

    _, session = visit(None)
    with faults.set("smtpd"):
        change(12 * 3600 + 1, 1)
        assert visit(session)[0]
        change(24 * 3600 + 2, 2)
        # The listeners hear of it a moment later.
        wait_for(lambda: not any(visit(session)[0] for _ in range(4)))
        _, session = visit(None)
        assert visit(session)[0]


def test_many_handshakes_wait_for_a_keeper_that_is_held_up(serve, ec):
    """More than may wait for the keeper at once."""
    instance = serve(ec.statements("mx"), "smtps pki mx", "smtp limit sessions-per-address 2000\n")
    (keeper,) = instance.pids("keeper")
    os.kill(keeper, signal.SIGSTOP)
    context, clients = insecure(), []
    try:
        for _ in range(700):
            plain = socket.create_connection(("127.0.0.1", instance.tls_port), timeout=20)
            plain.setblocking(False)
            client = context.wrap_socket(plain, do_handshake_on_connect=False)
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            clients.append(client)
        with instance.smtp() as other:  # nobody else is held up
            other.sendmail("erin@client.test", "alice@example.test", "Subject: x\r\n\r\nx\r\n")
    finally:
        os.kill(keeper, signal.SIGCONT)
    for client in clients:
        client.settimeout(20)
        client.do_handshake()
        assert client.recv(100).startswith(b"220 ")
        client.close()


@pytest.mark.parametrize("options", ["smtps", "tls"])
def test_a_proxy_s_header_comes_before_tls(serve, rsa, options):
    instance = serve(rsa.statements("mx"), options + " pki mx proxy-v2")
    header = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 192, 0, 2, 1]) +
        b"\x10\0\0\x19")
    for pieces in ([header], [header[:5], header[5:20], header[20:]]):
        wire = instance.wire(instance.tls_port)
        for piece in pieces:
            wire.socket.sendall(piece)
        if options == "tls":
            starttls(instance, wire=wire)
        else:
            wire.socket = insecure().wrap_socket(wire.socket)
            wire.expect(220)
        with wire:
            send_message(wire)
    for mail in instance.wait_mail("alice@example.test", count=2):
        assert "192.0.2.7" in mail.message["Received"]


@pytest.mark.parametrize("text", [b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"GET / HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x00\x05\x01\x00\xff\xff\xff", b"\x15\x03\x01\x00\x02\x02\x28", b"\0" * 40, b"\x80"])
def test_garbage_and_early_ends_are_a_failed_handshake(serve, rsa, text):
    instance = serve(rsa.statements("mx"), "smtps pki mx")
    with instance.wire(instance.tls_port) as wire:
        try:
            wire.send(text)
            wire.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has had enough already
        assert wire.is_closed()
    instance.wait_log("tls-failed")
    with smtplib.SMTP_SSL("127.0.0.1", instance.tls_port, context=insecure(), timeout=20) as client:
        client.noop()


def client_hello(name):
    """One that names this host, in as many records as it takes."""
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    names = len(entry).to_bytes(2, "big") + entry
    extensions = b"\0\0" + len(names).to_bytes(2, "big") + names
    body = (b"\3\3" + bytes(32) + b"\0" + b"\0\2\xc0\x2f" + b"\1\0" +
        len(extensions).to_bytes(2, "big") + extensions)
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"".join(b"\x16\3\1" + len(piece).to_bytes(2, "big") + piece
        for piece in (message[at:at + 16384] for at in range(0, len(message), 16384)))


@pytest.mark.parametrize("name", [b"x" * 65000, NAME.encode() + b"\0.evil.test", b"\xff\r\n", b""])
def test_a_hostile_server_name_is_a_failed_handshake(serve, rsa, name):
    instance = serve(rsa.statements("mx"), "smtps pki mx")
    with instance.wire(instance.tls_port) as wire:
        wire.send(client_hello(name))
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.is_closed()
    instance.wait_log("tls-failed")
    assert all("\r" not in line.text for line in instance.log_lines())


def test_a_client_s_certificate_of_a_mebibyte_is_not_read(serve, folder, rsa, authority):
    large = Pair(folder, "large.example.test", "ec")
    config = folder / "large.cnf"
    config.write_text("[req]\ndistinguished_name=name\n[name]\n[large]\n"
        "1.2.3.4=ASN1:FORMAT:HEX,OCT:" + "00" * (1 << 20) + "\n")
    Pair.run("req", "-new", "-x509", "-key", large.key, "-out", large.cert, "-days", 3, "-subj",
        "/CN=large", "-config", config, "-extensions", "large")
    instance = serve(rsa.statements("mx") + f'ca inside cert "{authority.cert}"\n',
        "smtps verify ca inside pki mx")
    assert large.cert.stat().st_size > 1 << 20
    context = client_context(rsa, version=ssl.TLSVersion.TLSv1_2, certificate=large)
    with pytest.raises((ssl.SSLError, OSError)):
        plain = socket.create_connection(("127.0.0.1", instance.tls_port), timeout=20)
        context.wrap_socket(plain, server_hostname=NAME)
    assert "excessive" in instance.wait_log("tls-failed")["reason"]


def test_a_stalled_handshake_is_ended(serve, rsa):
    instance = serve(rsa.statements("mx"), "smtps pki mx", "smtp limit handshake-time 1s\n")
    with instance.wire(instance.tls_port) as silent, instance.wire(instance.tls_port) as slow:
        slow.send(b"\x16\x03\x01\x02\x00\x01")
        assert silent.is_closed() and slow.is_closed()
    for line in wait_for(lambda: len(found := instance.log_lines("tls-failed")) == 2 and found):
        assert line["reason"] == "the handshake took too long"


def test_a_connection_cut_in_the_text_leaves_no_message(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls pki mx")
    for farewell in (False, True):
        with starttls(instance) as wire:
            wire.command("EHLO client.test", 250)
            wire.command("MAIL FROM:<erin@client.test>", 250)
            wire.command("RCPT TO:<alice@example.test>", 250)
            wire.command("DATA", 354)
            wire.send("Subject: cut\r\n\r\nfirst half\r\n")
            if farewell:
                wire.socket.settimeout(10)
                try:
                    wire.socket.unwrap()
                except OSError:
                    pass
    instance.wait_log("smtp-disconnected", count=2)
    assert instance.queue() == [] and instance.mails("alice@example.test") == []


def test_large_pipelined_input_in_one_piece_is_taken(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls pki mx")
    body = "".join(f"{number:070d}\r\n" for number in range(4000))
    with starttls(instance) as wire:
        wire.command("EHLO client.test", 250)
        commands = "".join("MAIL FROM:<erin@client.test>\r\nRCPT TO:<alice@example.test>\r\n"
            f"BDAT {len(body)} LAST\r\n{body}" for _ in range(5))
        wire.send(commands)
        for _ in range(15):
            wire.expect(250)
    for mail in instance.wait_mail("alice@example.test", count=5):
        assert mail.data.replace(b"\r\n", b"\n").endswith(body.replace("\r\n", "\n").encode())


def test_a_dead_keeper_costs_no_session_and_hardly_a_handshake(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls pki mx")
    with starttls(instance) as before, instance.wire(instance.tls_port) as waiting:
        waiting.hello()
        instance.kill("keeper")
        begun = time.monotonic()
        with starttls(instance, wire=waiting):
            assert time.monotonic() - begun < 5
            send_message(waiting)
        send_message(before)
    with starttls(instance) as after:
        send_message(after)
    instance.wait_mail("alice@example.test", count=3)


def test_swaks_sends_by_tls(serve, rsa, tool):
    swaks = tool("swaks")
    instance = serve(rsa.statements("mx"), "tls pki mx")
    subprocess.run([swaks, "--server", f"127.0.0.1:{instance.tls_port}", "--tls", "--helo",
        "client.test", "--from", "erin@client.test", "--to", "alice@example.test", "--suppress-data"],
        check=True, capture_output=True, timeout=60)
    (mail,) = instance.wait_mail("alice@example.test")
    assert "with ESMTPS" in mail.message["Received"]


def extensions(wire):
    return {line.upper() for line in wire.command("EHLO client.test", 250).lines}


def test_logins_are_offered_only_behind_the_handshake(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls-require auth pki mx")
    wire = instance.wire(instance.tls_port)
    assert not any(line.startswith("AUTH") for line in wire.hello())
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 530)
    with starttls(instance, client_context(rsa), wire=wire):
        (offer,) = (line for line in extensions(wire) if line.startswith("AUTH"))
        assert {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} <= set(offer.split())
        wire.command("MAIL FROM:<alice@example.test>", 530)
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
        wire.command("MAIL FROM:<alice@example.test>", 250)
        wire.command("RCPT TO:<bob@example.test>", 250)
        wire.command("DATA", 354)
        wire.send("Subject: x\r\n\r\nx\r\n.\r\n").expect(250)
    (mail,) = instance.wait_mail("bob@example.test")
    assert "with ESMTPSA" in mail.message["Received"]


def test_a_login_in_the_clear_is_forgotten_by_starttls(serve, rsa):
    instance = serve(rsa.statements("mx"), "tls auth auth-cleartext pki mx")
    wire = instance.wire(instance.tls_port)
    wire.hello()
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
    with starttls(instance, client_context(rsa), wire=wire):
        extensions(wire)
        wire.command("MAIL FROM:<alice@example.test>", 530, "authentication required")
        wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_login_is_bound_to_its_connection(serve, rsa, ec, version):
    """SCRAM-SHA-256-PLUS with tls-server-end-point: the certificate that the client has seen."""
    header = "p=tls-server-end-point,,"
    instance = serve(rsa.statements("a") + ec.statements("b"), "tls auth pki a pki b")
    with starttls(instance, client_context(rsa, ec, version=version)) as wire:
        seen = hashlib.sha256(wire.socket.getpeercert(True)).digest()
        extensions(wire)

        def login(binding, mechanism="SCRAM-SHA-256-PLUS", **arguments):
            client = Scram(**arguments)
            reply = wire.command(f"AUTH {mechanism} {client.first()}")
            if reply.code == 334:
                reply = wire.command(client.final(reply.lines[0], binding=binding))
            if reply.code == 334:
                reply = wire.command("")
            return reply.code
        # Somebody between us would show another certificate.
        assert login(header.encode() + bytes(32), header=header) == 535
        # A client that could bind, and was told that the server couldn't.
        assert login(b"y,,", "SCRAM-SHA-256", header="y,,") == 535
        assert login(header.encode() + seen, header=header) == 235


def test_no_private_key_is_in_a_process_of_the_network(serve, rsa):
    """The key's primes and its file's text are in keeper's memory and in no listener's."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    instance = serve(rsa.statements("mx"), "tls pki mx", 'action "out" relay pki mx\n')
    with starttls(instance) as wire:
        send_message(wire)
    text = subprocess.run(["openssl", "rsa", "-in", rsa.key, "-noout", "-text"], check=True,
        capture_output=True, text=True).stdout
    prime = bytes.fromhex(re.search(r"prime1:\s+([0-9a-f:\s]+)", text).group(1).replace(":", "")
        .replace(" ", "").replace("\n", "")).lstrip(b"\0")
    needles = [prime[:48], prime[::-1][:48], rsa.key.read_bytes().splitlines()[5]]

    def memory(pid):
        with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
            for line in maps:
                span, access = line.split()[:2]
                if access[0] != "r" or "[v" in line:
                    continue
                start, end = (int(part, 16) for part in span.split("-"))
                if end - start > 1 << 28:
                    continue  # a sanitizer's shadow
                mem.seek(start)
                try:
                    yield mem.read(end - start)
                except OSError:
                    continue

    def knows(pid):
        return any(needle in piece for piece in memory(pid) for needle in needles)
    assert all(knows(pid) for pid in instance.pids("keeper")), "the test finds keys"
    for program in ("listener", "relay", "queue", "directory", "resolver", "control"):
        for pid in instance.pids(program):
            assert not knows(pid), program
