"""The programs with which people send, configured as they configure them: by STARTTLS and by TLS from
the first byte, with a password and a certificate that is checked. Each sends to one recipient openly
and to another in Bcc, and then as somebody else."""

import os
import re
import smtplib
import ssl
import subprocess
import uuid

import pytest

import postern as harness
from postern import free_port
from test_auth import PASSWORD, USER
from test_tls import Pair

STARTTLS, SMTPS = "starttls", "smtps"
OTHER, HIDDEN = "bob@example.test", "carol@example.test"


class Server:
    """An instance with both ports, and the authority that clients trust: its own certificate."""

    def __init__(self, stage, folder):
        self.folder = folder
        self.pair = Pair(folder, "localhost")
        self.ports = {STARTTLS: free_port(), SMTPS: free_port()}
        pki = "auth pki localhost hostname localhost"
        self.postern = harness.Postern(stage, extra=self.pair.statements("localhost") +
            f"listen on 127.0.0.1 port {self.ports[STARTTLS]} tls-require {pki}\n"
            f"listen on 127.0.0.1 port {self.ports[SMTPS]} smtps {pki}\n")
        try:
            self.postern.start()
            self.postern.add_domain("example.test")
            for user in (USER, OTHER, HIDDEN):
                self.postern.add_user(user, PASSWORD)
        except BaseException:
            self.postern.destroy()
            raise

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def text(self, sender, subject):
        """As a program hands it on that leaves the rest to others: no Date, no Message-ID."""
        return (f"From: <{sender}>\nTo: <{OTHER}>\nBcc: <{HIDDEN}>\nSubject: {subject}\n\n"
            f"Grüße\n.\nfrom a user\n")

    def run(self, *words, input=""):
        return subprocess.run([str(word) for word in words], input=input.encode(), timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder), "EMAIL": USER, "LC_ALL": "C.UTF-8"})


def by_smtplib(server, _tool, way, sender, subject):
    context = ssl.create_default_context(cafile=server.pair.cert)
    words = ("localhost", server.ports[way], "client.test")
    try:
        with (smtplib.SMTP(*words) if way == STARTTLS else
                smtplib.SMTP_SSL(*words, context=context)) as client:
            if way == STARTTLS:
                client.starttls(context=context)
            client.login(USER, PASSWORD)
            client.sendmail(sender, [OTHER, HIDDEN], server.text(sender, subject).replace("\n", "\r\n").encode(),
                ["BODY=8BITMIME"])
    except smtplib.SMTPException as why:
        return subprocess.CompletedProcess("smtplib", 1, str(why).encode())
    return subprocess.CompletedProcess("smtplib", 0, b"")


def by_swaks(server, tool, way, sender, subject):
    data = server.file("data", server.text(sender, subject))
    return server.run(tool("swaks"), "-4", "--server", "localhost", "--port", server.ports[way],
        "--tls" if way == STARTTLS else "--tls-on-connect", "--tls-verify", "--tls-ca-path",
        server.pair.cert, "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD,
        "--from", sender, "--to", f"{OTHER},{HIDDEN}", "--data", f"@{data}")


def by_msmtp(server, tool, way, sender, subject):
    rc = server.file("msmtprc", f"""defaults
tls on
tls_starttls {"on" if way == STARTTLS else "off"}
tls_trust_file {server.pair.cert}
auth on
remove_bcc_headers off
account default
host localhost
port {server.ports[way]}
user {USER}
password "{PASSWORD}"
from {sender}
""")
    return server.run(tool("msmtp"), "-C", rc, "-t", input=server.text(sender, subject))


def by_git(server, tool, way, sender, subject):
    server.file(".gitconfig", f"""[user]
    name = Alice
    email = {sender}
[sendemail]
    smtpServer = localhost
    smtpServerPort = {server.ports[way]}
    smtpEncryption = {"tls" if way == STARTTLS else "ssl"}
    smtpSSLCertPath = {server.pair.cert}
    smtpUser = {USER}
    smtpPass = "{PASSWORD}"
    confirm = never
    suppressCc = all
    annotate = no
""")
    patch = server.file("0001.patch", f"From {'0' * 40} Mon Sep 17 00:00:00 2001\n"
        f"From: Alice <{sender}>\nDate: Sat, 28 Nov 2026 12:00:00 +0000\nSubject: {subject}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        "Content-Transfer-Encoding: 8bit\n\nGrüße\n---\n a | 1 +\n")
    return server.run(tool("git"), "send-email", "--to", OTHER, "--bcc", HIDDEN, patch)


def by_mutt(server, tool, way, sender, subject):
    """Left alone it chooses SCRAM-SHA-256-PLUS and then can't bind it."""
    scheme, name = "smtp" if way == STARTTLS else "smtps", USER.replace("@", "%40")
    rc = server.file("muttrc", f"""set from="{sender}" use_envelope_from=yes realname="Alice"
set smtp_url="{scheme}://{name}@localhost:{server.ports[way]}/" smtp_pass="{PASSWORD}"
set smtp_authenticators="scram-sha-256:plain"
set ssl_starttls=yes ssl_force_tls=yes
set certificate_file="{server.pair.cert}"
set copy=no write_bcc=yes
""")
    return server.run(tool("mutt"), "-n", "-F", rc, "-s", subject, "-b", HIDDEN, "--", OTHER,
        input="Grüße\n.\nfrom a user\n")


def by_s_nail(server, tool, way, sender, subject):
    name = USER.replace("@", "%40")
    url = f"{'smtp' if way == STARTTLS else 'smtps'}://{name}:{PASSWORD.replace(' ', '%20')}" \
        f"@localhost:{server.ports[way]}"
    return server.run(tool("s-nail"), "-:/", "-Sv15-compat", f"-Smta={url}",
        *(["-Ssmtp-use-starttls"] if way == STARTTLS else []), "-Stls-verify=strict",
        f"-Stls-ca-file={server.pair.cert}", "-Stls-ca-no-defaults", f"-Sfrom={sender}",
        f"-r{sender}", "-Ssendwait", "-s", subject, "-b", HIDDEN, OTHER,
        input="Grüße\n.\nfrom a user\n")


@pytest.fixture(scope="module")
def server(stage, tmp_path_factory):
    made = Server(stage, tmp_path_factory.mktemp("clients"))
    yield made
    made.postern.destroy()


@pytest.mark.parametrize("way", [STARTTLS, SMTPS])
@pytest.mark.parametrize("send", [by_smtplib, by_swaks, by_msmtp, by_git, by_mutt, by_s_nail],
    ids=lambda send: send.__name__.removeprefix("by_"))
def test_a_user_sends(server, tool, send, way):
    postern, subject = server.postern, uuid.uuid4().hex
    postern.mark_log()
    result = send(server, tool, way, USER, subject)
    assert result.returncode == 0, result.stdout.decode()
    for user in (OTHER, HIDDEN):
        (mail,) = harness.wait_for(lambda: [mail for mail in postern.mails(user)
            if mail.message["Subject"] == subject], what=f"it arrives at {user}")
        assert re.search(rb"Gr(\xc3\xbc|=C3=BC|\xfc)", mail.body)  # mutt prefers ISO 8859-1
        assert USER in mail.message["From"] and mail.message["To"]
        assert mail.message["Bcc"] is None and HIDDEN.encode() not in mail.body
        assert len(mail.message.get_all("Date")) == len(mail.message.get_all("Message-ID")) == 1
        assert "ESMTPSA" in mail.message["Received"]
    postern.wait_log("auth-ok", user=USER)
    # As somebody else: not taken, and the client's program says so.
    other = uuid.uuid4().hex
    result = send(server, tool, way, OTHER, other)
    assert result.returncode != 0, result.stdout.decode()
    postern.wait_log("rcpt-refused", timeout=5)
    postern.wait_queue_empty()
    assert not [mail for user in (OTHER, HIDDEN) for mail in postern.mails(user)
        if mail.message["Subject"] == other]
