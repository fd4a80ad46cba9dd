"""Logins under TLS: where they are offered, and SCRAM bound to the connection."""

import hashlib
import re
import smtplib
import subprocess

import pytest

from test_auth import PASSWORD, USER, Scram, b64, plain, scram
from test_tls import NAME, folder, insecure, rsa, serve, starttls  # noqa: F401


@pytest.fixture
def server(serve, rsa):
    return serve(rsa.statements(NAME), f"tls auth pki {NAME}")


def bound(wire, client, binding):
    """SCRAM-SHA-256-PLUS: the reply that ends it."""
    reply = wire.command(f"AUTH SCRAM-SHA-256-PLUS {client.first()}")
    if reply.code != 334:
        return reply
    final = client.final(reply.lines[0], binding=client.header.encode() + binding)
    reply = wire.command(final)
    if reply.code == 334:
        reply = wire.command("")
    return reply


def test_logins_are_offered_behind_starttls_only(server):
    wire = server.wire(server.tls_port)
    assert not any("AUTH" in line for line in wire.hello())
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 538, "5.7.11")
    wire.command("c2VzYW1l", 500)
    wire.command(f"MAIL FROM:<{USER}>", 530)
    starttls(server, wire=wire)
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 503)  # it begins anew
    lines = wire.command("EHLO client.test", 250).lines
    assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" in lines
    wire.command(f"MAIL FROM:<{USER}>", 530)
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
    wire.command(f"MAIL FROM:<{USER}>", 250)
    wire.close()
    assert plain(USER, PASSWORD) not in server.log_text() and "c2VzYW1l" not in server.log_text()


def test_a_login_is_forgotten_by_starttls(serve, rsa):
    server = serve(rsa.statements(NAME), f"tls auth auth-cleartext pki {NAME}")
    wire = server.wire(server.tls_port)
    wire.hello()
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
    starttls(server, wire=wire)
    wire.command("EHLO client.test", 250)
    wire.command(f"MAIL FROM:<{USER}>", 530)
    wire.command(f"AUTH PLAIN {plain(USER, PASSWORD)}", 235)
    wire.command(f"MAIL FROM:<{USER}>", 250)
    wire.close()


def test_smtps_names_the_login_in_received(serve, rsa):
    server = serve(rsa.statements(NAME), f"smtps auth pki {NAME} received-auth")
    with smtplib.SMTP_SSL("127.0.0.1", server.tls_port, context=insecure()) as client:
        client.login(USER, PASSWORD)
        client.sendmail(USER, ["bob@example.test"], b"Subject: x\r\n\r\nx\r\n")
    (mail,) = server.wait_mail("bob@example.test")
    assert re.search(rb"with ESMTPSA\b", mail.data)
    assert b"(authenticated as alice@example.test)" in mail.data


def test_scram_is_bound_to_the_certificate(server, rsa):
    """RFC 5929 4; a binding of another connection, or none where there could be one, is refused."""
    right = hashlib.sha256(rsa.der).digest()
    header = "p=tls-server-end-point,,"
    for binding, code in ((hashlib.sha256(b"another").digest(), 535), (b"", 535), (right, 235)):
        wire = starttls(server)
        wire.command("EHLO client.test", 250)
        assert bound(wire, Scram(header=header), binding).code == code
        wire.close()
    wire = starttls(server)
    wire.command("EHLO client.test", 250)
    assert bound(wire, Scram(header="n,,"), b"").code == 535
    assert bound(wire, Scram(header="p=tls-unique,,"), right).code == 535
    assert scram(wire, Scram(header="y,,")).code == 535  # was -PLUS taken off our list?
    assert scram(wire, Scram(header=header), binding=header).code == 535
    assert scram(wire, Scram()).code == 235
    wire.close()


def test_scram_is_bound_by_exporter(server):
    """RFC 9266, with openssl(1), which says what it has exported: with no context, which is the same
    as the empty one of the RFC in TLS 1.3 alone."""
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}",
        "-tls1_3", "-starttls", "smtp", "-crlf", "-nocommands", "-keymatexport",
        "EXPORTER-Channel-Binding", "-keymatexportlen", "32"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)

    def say(line, code):
        client.stdin.write(line + "\n")
        client.stdin.flush()
        while True:
            reply = client.stdout.readline()
            assert reply, "closed"
            found = re.fullmatch(r"\s*Keying material: ([0-9A-F]{64})", reply.rstrip())
            if found:
                say.exported = bytes.fromhex(found.group(1))
            if re.match(r"[2-5][0-9][0-9] ", reply):
                assert reply.startswith(str(code)), reply
                return reply[4:].strip()
    say.exported = None
    try:
        say("EHLO client.test", 250)
        while say.exported is None:  # the last reply before the handshake came first
            say("EHLO client.test", 250)
        scram_client = Scram(header="p=tls-exporter,,")
        challenge = say(f"AUTH SCRAM-SHA-256-PLUS {scram_client.first()}", 334)
        challenge = say(scram_client.final(challenge,
            binding=scram_client.header.encode() + say.exported), 334)
        assert challenge == b64(scram_client.expected)
        say("", 235)
    finally:
        client.kill()
        client.wait()
        client.stdin.close()
        client.stdout.close()
    server.wait_log("auth-ok", mechanism="SCRAM-SHA-256-PLUS")


def test_msmtp_binds(server, tool):
    words = [tool("msmtp"), "-C", "/dev/null", "--host=127.0.0.1", f"--port={server.tls_port}",
        f"--user={USER}", f"--from={USER}", "--tls=on", "--tls-starttls=on", "--tls-certcheck=off",
        f"--passwordeval=echo '{PASSWORD}'", "bob@example.test"]
    for mechanism in ("scram-sha-256-plus", "on"):
        done = subprocess.run(words + [f"--auth={mechanism}"], input=b"Subject: x\r\n\r\nx\r\n",
            capture_output=True)
        if mechanism == "on" or not re.search(b"not supported|unknown|invalid", done.stderr):
            assert done.returncode == 0, (mechanism, done.stderr)
    server.wait_mail("bob@example.test")
