"""DKIM: keys made, rotated and removed by smtpctl; what users send is signed so that other people's
verifiers (dkimpy, OpenDKIM) accept it; and without the keeper it waits with its sender."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

import postern as harness
from smtp_peer import Peer

dkim = pytest.importorskip("dkim")

LISTEN = """listen on 127.0.0.1 port @PORT@ auth-optional auth-cleartext
listen on socket "@BASE@/submit"
"""
PASSWORD = "correct horse battery"
HEADER = ("From: Alice <alice@example.test>\r\nTo: bob@example.test\r\nSubject: hello\r\n"
    "Date: Sat, 28 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n")


@pytest.fixture
def signing(make_postern):
    return make_postern(listen=LISTEN)


def records(instance, *arguments):
    """{"selector._domainkey.domain.": value} of what `smtpctl dkim` prints for a zone file."""
    text = instance.smtpctl("dkim", *arguments).stdout
    found = {}
    for name, strings in re.findall(r"^(\S+) IN TXT \( ((?:\"[^\"]*\"\s+)+)\)$", text, re.M):
        pieces = re.findall(r'"([^"]*)"', strings)
        assert all(len(piece) <= 255 for piece in pieces)
        found[name] = "".join(pieces)
    return found


def submit(instance, text, sender="alice@example.test", code=250):
    """Sends by the local socket, as a program of this machine's would."""
    with instance.wire(path=instance.base / "submit") as wire:
        wire.hello()
        wire.command(f"MAIL FROM:<{sender}> BODY=8BITMIME", 250)
        wire.command("RCPT TO:<bob@example.test>", 250)
        wire.command("DATA", 354)
        if isinstance(text, str):
            text = text.encode()
        wire.send(re.sub(rb"^\.", b"..", text, flags=re.M) + b".\r\n")
        return wire.expect(code)


def signatures(mail):
    return mail.message.get_all("DKIM-Signature") or []


def verify(mail, published):
    """All signatures, by dkimpy."""
    def answer(name, timeout=5):
        return published.get(name.decode()).encode()
    count = len(signatures(mail))
    assert count > 0
    for index in range(count):
        assert dkim.DKIM(mail.data).verify(idx=index, dnsfunc=answer)
    return count


BODIES = {
    "plain": "hello\r\n",
    "empty": "",
    "only-empty-lines": "\r\n\r\n\r\n",
    "white-space": "a  b\t c  \r\n\t\r\n  d\r\n   \r\n\r\n",
    "dots": ".\r\n..\r\n.dot\r\n",
    "eight-bit": "Grüße – 漢字\r\n" * 40,
    "100-KB": "0123456789 " * 5 + "\r\n",
    "2-MB": "abcdefghij klmno\tpqrs  t\r\n",
}
REPEATED = {"100-KB": 2000, "2-MB": 80000}


def named(text, name):
    return text.replace("<1@", f"<{name}@")


def by_name(mails):
    return {mail.message["Message-ID"].split("@")[0].lstrip("<"): mail for mail in mails}


@pytest.fixture
def both(signing):
    """An instance that signs by both algorithms, and its records."""
    published = records(signing, "add", "example.test")
    published.update(records(signing, "add", "example.test", "ed25519"))
    assert len(published) == 2
    return signing, published


def test_what_is_submitted_verifies(both):
    instance, published = both
    for name, body in BODIES.items():
        submit(instance, named(HEADER, name) + "\r\n" + body * REPEATED.get(name, 1))
    mails = by_name(instance.wait_mail("bob@example.test", count=len(BODIES)))
    for name in BODIES:
        mail = mails[name]
        assert verify(mail, published) == 2
        assert mail.data.index(b"DKIM-Signature:") < mail.data.index(b"Received:")
        assert re.search(rb"[ \t]\r?\n", re.split(rb"\r?\n\r?\n", mail.data)[0]) is None
    assert len(instance.log_lines("message-accepted", dkim="example.test")) == len(BODIES)


HEADERS = {
    "folded": HEADER.replace("Subject: hello", "Subject:  a\r\n\tvery  long\r\n  subject\t"),
    "long": HEADER + "References: " + "\r\n ".join(
        f"<{n}.0123456789@example.test>" for n in range(2000)) + "\r\n",
    "many": HEADER + "X-Other: y\r\n" * 1500 + "Cc: a@example.test\r\n" * 20,
    "two-authors": HEADER + "From: Mallory <mallory@example.test>\r\n",
    "odd": HEADER.replace("From: Alice <", 'fRoM:"a@b.test <c@d.test>" (x, y) <'),
    "no-body": HEADER,
    "no-id": "From: alice@example.test\r\n\r\n",
}


def test_headers_as_they_come_verify(both):
    instance, published = both
    for name, header in HEADERS.items():
        text = named(header, name)
        submit(instance, text if name == "no-body" else text + "\r\nhello\r\n")
    mails = instance.wait_mail("bob@example.test", count=len(HEADERS))
    assert set(HEADERS) - {"no-id"} <= set(by_name(mails))
    for mail in mails:
        assert verify(mail, published) == 2


def test_a_field_that_is_folded_on_its_way_out_still_verifies(make_postern):
    with Peer(port=None) as peer:
        instance = make_postern(listen=LISTEN, rules='action "out" relay host '
            f'"smtp://{peer.address}:{peer.port}"\nmatch from any for any action "out"\n')
        published = records(instance, "add", "example.test")
        many = ", ".join(f"someone{number}@example.test" for number in range(200))
        submit(instance, HEADER.replace("To: bob", f"To: {many}, bob") + "\r\nhello\r\n")
        (message,) = peer.wait_messages(1)
        assert max(len(line) for line in message.data.split(b"\r\n")) <= 998
        assert dkim.DKIM(message.data).verify(
            dnsfunc=lambda name, timeout=5: published[name.decode()].encode())


def test_an_added_field_breaks_the_signature(signing):
    published = records(signing, "add", "example.test")
    submit(signing, HEADER + "\r\nhello\r\n")
    (mail,) = signing.wait_mail("bob@example.test")
    verify(mail, published)
    for field in (b"From: x@evil.test", b"Subject: y", b"Reply-To: x@evil.test",
            b"Content-Type: text/html"):
        mail.data = field + b"\n" + mail.data if mail.data.count(b"\r\n") == 0 else (
            field + b"\r\n" + mail.data)
        with pytest.raises(AssertionError):
            verify(mail, published)


def opendkim_finds_fault(tool, tmp_path, mail, published):
    """What OpenDKIM has to say against the signatures, which are all checked; "" for nothing."""
    (tmp_path / "mail").write_bytes(re.sub(rb"\r?\n", b"\r\n", mail.data))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with open(tmp_path / "dns.conf", "w", encoding="ascii") as zone:
        for name, value in published.items():
            strings = ",".join(f'"{value[at:at + 250]}"' for at in range(0, len(value), 250))
            zone.write(f"txt-record={name.rstrip('.')},{strings}\n")
    script = f"""set -e
ip link set lo up
mount --bind {tmp_path}/resolv.conf /etc/resolv.conf
{tool("dnsmasq")} --conf-file={tmp_path}/dns.conf --no-resolv --no-hosts --listen-address=127.0.0.1 \
    --bind-interfaces --pid-file={tmp_path}/pid --user=root
trap 'kill $(cat {tmp_path}/pid)' EXIT
{tool("opendkim-testmsg")} -t {tmp_path} <{tmp_path}/mail
"""
    result = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=60)
    return result.stdout or (f"status {result.returncode}" if result.returncode else "")


@pytest.mark.root
@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_opendkim_accepts_it(signing, tool, tmp_path, algorithm):
    published = records(signing, "add", "example.test", algorithm)
    submit(signing, HEADER + "\r\nhello  world\r\n\r\n\r\n")
    (mail,) = signing.wait_mail("bob@example.test")
    assert opendkim_finds_fault(tool, tmp_path, mail, published) == ""
    mail.data = mail.data.replace(b"hello ", b"jello ")
    assert opendkim_finds_fault(tool, tmp_path, mail, published) != ""


def test_only_what_users_send_is_signed(signing):
    records(signing, "add", "example.test")
    signing.send("bob@example.test", HEADER + "\r\nfrom elsewhere\r\n")
    submit(signing, HEADER.replace("alice@", "alice@not-"), sender="x@client.test")
    for mail in signing.wait_mail("bob@example.test", count=2):
        assert signatures(mail) == []
    assert not any("dkim" in line for line in signing.log_lines("message-accepted"))


def test_a_domain_without_a_key_is_signed_for_by_the_nearest_above(signing):
    published = records(signing, "add", "example.test")
    published.update(records(signing, "add", "own.example.test"))
    for domain in ("sub.example.test", "a.b.sub.example.test", "x.own.example.test"):
        submit(signing, named(HEADER, domain).replace("alice@example.test", f"alice@{domain}") +
            "\r\nhello\r\n", sender=f"alice@{domain}")
    mails = by_name(signing.wait_mail("bob@example.test", count=3))
    for domain, mail in mails.items():
        assert verify(mail, published) == 1
        signer = "own.example.test" if "own" in domain else "example.test"
        assert re.search(rf"\bd={re.escape(signer)};", signatures(mail)[0])


def test_a_user_is_signed_for_by_the_domain_he_sends_as(signing):
    """Not by that of an author he claims to be."""
    published = records(signing, "add", "example.test")
    signing.add_domain("other.test")
    signing.add_user("carol@other.test", PASSWORD)
    with signing.smtp() as client:
        client.login("carol@other.test", PASSWORD)
        client.sendmail("carol@other.test", "bob@example.test", HEADER + "\r\nforged\r\n")
    (mail,) = signing.wait_mail("bob@example.test")
    assert signatures(mail) == []
    with signing.smtp() as client:
        client.login("alice@example.test", PASSWORD)
        client.sendmail("alice@example.test", "bob@example.test", HEADER + "\r\nhers\r\n")
    mails = signing.wait_mail("bob@example.test", count=2)
    (mail,) = [mail for mail in mails if b"hers" in mail.data]
    verify(mail, published)


def keys(instance, *arguments):
    lines = instance.smtpctl("-j", "dkim", "list", *arguments).stdout.splitlines()
    return {(key["domain"], key["selector"]): (key["algorithm"], key["state"])
        for key in map(json.loads, lines)}


def test_keys_are_rotated(signing):
    (old,) = records(signing, "add", "example.test", "first")
    assert old == "first._domainkey.example.test."
    assert signing.smtpctl("dkim", "list").stdout == "example.test|first|rsa|active\n"
    published = records(signing, "show", "example.test", "first")
    assert records(signing, "add", "example.test", "edd", "ed25519")
    new = records(signing, "rotate", "example.test")
    assert len(new) == 2
    published.update(records(signing, "show", "example.test"))
    states = [state for _, state in keys(signing).values()]
    assert sorted(states) == ["active", "active", "inactive", "inactive"]
    rsa = next(name for name in new if name.startswith("rsa")).split(".")[0]
    signing.smtpctl("dkim", "activate", "example.test", rsa)
    assert keys(signing)["example.test", "first"] == ("rsa", "inactive")
    assert keys(signing)["example.test", rsa] == ("rsa", "active")
    signing.smtpctl("dkim", "del", "example.test", "first")
    submit(signing, HEADER + "\r\nhello\r\n")
    (mail,) = signing.wait_mail("bob@example.test")
    assert verify(mail, published) == 2
    selectors = {re.search(r"s=([^;]+);", str(text)).group(1) for text in signatures(mail)}
    assert selectors == {rsa, "edd"}
    before = keys(signing)
    signing.restart()
    assert keys(signing) == before
    submit(signing, HEADER + "\r\nagain\r\n")
    for mail in signing.wait_mail("bob@example.test", count=2):
        verify(mail, published)


def test_keys_are_roots_alone(signing):
    records(signing, "add", "example.test", "one")
    directory = signing.state / "dkim"
    file = directory / "example.test.one.key"
    assert directory.stat().st_mode & 0o7777 == 0o700
    assert file.stat().st_mode & 0o7777 == 0o600
    assert file.stat().st_uid == os.geteuid()
    assert file.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    file.chmod(0o644)
    signing.reload()
    harness.wait_for(lambda: "is open to others" in signing.log_text(), what="told in the log")
    harness.wait_for(lambda: not keys(signing), what="not used")


def test_wrong_requests_are_refused(signing):
    records(signing, "add", "example.test", "one")
    for arguments, words in (
            (("add", "example.test", "one"), "there is a key"),
            (("add", "bad domain"), "not a domain"),
            (("add", "../../etc"), "not a domain"),
            (("add", "example.test", "a/b"), "not a selector"),
            (("add", "example.test", "x", "dsa"), "not an algorithm"),
            (("rotate", "other.test"), "no key signs"),
            (("del", "example.test", "two"), "no such key"),
            (("activate", "example.test", "two"), "no such key"),
            (("show", "other.test"), "no such key")):
        result = signing.smtpctl("dkim", *arguments, check=False)
        assert result.returncode != 0 and words in result.stderr, (arguments, result.stderr)
    signing.smtpctl("dkim", "del", "example.test", "one")
    assert keys(signing) == {}


def test_without_the_keeper_mail_waits_with_its_sender(signing):
    """Never unsigned; and once there is a keeper again it is signed at once."""
    published = records(signing, "add", "example.test")
    signing.allow("dkim-failed")
    (keeper,) = signing.pids("keeper")
    os.kill(keeper, signal.SIGSTOP)
    begin = time.monotonic()
    reply = submit(signing, HEADER + "\r\nwaits\r\n", code=451)
    assert "4.3.0" in reply.text and time.monotonic() - begin < 10
    signing.kill("keeper")
    begin = time.monotonic()
    submit(signing, HEADER + "\r\nsigned\r\n")
    assert time.monotonic() - begin < 2
    (mail,) = signing.wait_mail("bob@example.test")
    assert b"signed" in mail.data
    verify(mail, published)


def test_a_keeper_that_dies_while_it_signs_is_asked_again(signing):
    """By the next one, so that the client notices nothing but a moment."""
    published = records(signing, "add", "example.test")
    (keeper,) = signing.pids("keeper")
    os.kill(keeper, signal.SIGSTOP)
    with signing.wire(path=signing.base / "submit") as wire:
        wire.hello()
        wire.command("MAIL FROM:<alice@example.test>", 250)
        wire.command("RCPT TO:<bob@example.test>", 250)
        wire.command("DATA", 354)
        wire.send(HEADER + "\r\nhello\r\n.\r\n")
        wire.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            wire.reply()
        wire.socket.settimeout(20)
        signing.kill("keeper")
        wire.expect(250)
    (mail,) = signing.wait_mail("bob@example.test")
    verify(mail, published)
