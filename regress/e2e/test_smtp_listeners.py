"""Where connections come from: IPv6, a Unix socket, a proxy (PROXY protocol, version 2), and LMTP on any."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import time

import pytest

from postern import free_port, wait_for

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
START = "MAIL FROM:<erin@client.test>"
TO = "RCPT TO:<alice@example.test>"


def header(source="192.0.2.7", command=0x21, family=0x11, extensions=b"", length=None):
    if family >> 4 == 2:
        addresses = socket.inet_pton(socket.AF_INET6, source) * 2
    else:
        addresses = socket.inet_aton(source) * 2
    payload = addresses + struct.pack("!HH", 1234, 25) + extensions
    size = len(payload) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + payload


def deliver(wire, hello="EHLO client.test", replies=1):
    wire.command(hello, 250)
    wire.command(START, 250)
    wire.command(TO, 250)
    wire.command("DATA", 354)
    wire.send("Subject: x\r\n\r\nx\r\n.\r\n")
    for _ in range(replies):
        wire.expect(250)


def test_ipv6(make_postern):
    postern = make_postern(start=False)
    postern.listen = f"listen on ::1 port {postern.port}\n"
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    postern.start(ready=False)
    wait_until_served(postern, "::1")
    accounts(postern)
    with postern.wire(host="::1") as wire:
        wire.expect(220)
        deliver(wire)
    (mail,) = postern.wait_mail("alice@example.test")
    assert b"[IPv6:::1])" in mail.data
    assert postern.wait_log("message-accepted")["address"] == "IPv6:::1"


def wait_until_served(postern, host):
    def answers():
        try:
            with postern.wire(host=host, timeout=2) as wire:
                return wire.line().startswith(b"220")
        except OSError:
            return False
    wait_for(answers, what="smtpd answers")


def accounts(postern):
    postern.add_domain("example.test")
    postern.add_user("alice@example.test")


def test_a_unix_socket(make_postern):
    postern = make_postern(start=False)
    path = postern.base / "lmtp.sock"
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on socket \"{path}\" lmtp tag unix\n")
    postern.start()
    accounts(postern)
    with postern.wire(path=path) as wire:
        wire.expect(220, "LMTP")
        deliver(wire, "LHLO client.test")
    (mail,) = postern.wait_mail("alice@example.test")
    assert re.search(rb"^Received: from client\.test \(local, uid %d\)" % os.geteuid(), mail.data, re.MULTILINE)
    assert b"with LMTP id" in mail.data
    assert postern.wait_log("message-accepted")["address"] == "local"


def test_a_proxy_speaks_for_its_client(make_postern):
    postern = make_postern(start=False)
    port = free_port()
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on 127.0.0.1 port {port} proxy-v2 {{ 127.0.0.1 }}\n")
    postern.start()
    accounts(postern)
    with postern.wire(port=port) as wire:
        for byte in header(extensions=b"\x04\x00\x03abc"):
            wire.send(bytes([byte]))
        wire.expect(220)
        deliver(wire)
    (mail,) = postern.wait_mail("alice@example.test")
    assert b"[192.0.2.7])" in mail.data and b"127.0.0.1" not in mail.data
    connected = postern.wait_log("smtp-connected", address="192.0.2.7")
    assert connected
    with postern.wire(port=port) as wire:
        wire.send(header(source="2001:db8::7", family=0x21))
        wire.expect(220)
    postern.wait_log("smtp-connected", address="IPv6:2001:db8::7")
    with postern.wire(port=port) as wire:  # a health check is the proxy's own
        wire.send(SIGNATURE + b"\x20\x00\x00\x00")
        wire.expect(220)
    postern.wait_log("smtp-connected", address="127.0.0.1")


BAD = {
    "no header": b"EHLO client.test\r\n",
    "version 1": b"PROXY TCP4 192.0.2.7 192.0.2.1 1 25\r\n",
    "wrong version": header(command=0x31),
    "wrong command": header(command=0x2f),
    "UDP": header(family=0x12),
    "too short for IPv4": header(length=11),
    "too short for IPv6": header(source="2001:db8::7", family=0x21, length=35),
    "too long": header(length=65535),
    "length 0": header(length=0),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_bad_proxy_header_closes(make_postern, data):
    postern = make_postern(start=False)
    port = free_port()
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on 127.0.0.1 port {port} proxy-v2\n")
    postern.start()
    with postern.wire(port=port) as wire:
        wire.send(data)
        wire.expect(554)
        assert wire.is_closed()
    postern.wait_log("smtp-disconnected", reason="bad PROXY header")


def test_who_is_no_proxy_is_refused(make_postern):
    postern = make_postern(start=False)
    port = free_port()
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on 127.0.0.1 port {port} proxy-v2 {{ 192.0.2.1, 127.5.0.0/16 }}\n")
    postern.start()
    with postern.wire(port=port) as wire:
        wire.expect(554, "5.7.1")
        assert wire.is_closed()
    trusted = socket.create_connection(("127.0.0.1", port), 20, ("127.5.6.7", 0))
    with trusted:
        trusted.sendall(header())
        assert trusted.recv(100).startswith(b"220 ")
    refused = postern.wait_log("smtp-refused", address="127.0.0.1")
    assert "proxy-v2" in refused["reason"]


def test_without_a_table_only_proxies_on_this_machine_are_trusted(make_postern):
    """What comes from another address of this host stands for what comes from another host."""
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    outside = [address for address in addresses if "." in address and not address.startswith("127.")]
    if not outside:
        pytest.skip("only loopback addresses here")
    postern = make_postern(start=False)
    path = postern.base / "proxy.sock"
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on {outside[0]} port {postern.port} proxy-v2\n"
        f"listen on socket \"{path}\" proxy-v2\n")
    postern.start()
    with socket.create_connection((outside[0], postern.port), 20, ("127.0.0.1", 0)) as near:
        near.sendall(header())
        assert near.recv(100).startswith(b"220 ")
    with postern.wire(path=path) as wire:
        wire.send(header())
        wire.expect(220)
    with postern.wire(host=outside[0]) as wire:
        wire.expect(554, "5.7.1")
        assert wire.is_closed()
    postern.wait_log("smtp-refused", address=outside[0])


def test_connections_without_a_proxy_header_leave_room_and_soon_end(make_postern):
    postern = make_postern(start=False, extra="smtp limit sessions 10")
    port = free_port()
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on 127.0.0.1 port {port} proxy-v2\n")
    postern.start()
    accounts(postern)
    begin = time.monotonic()
    silent = [postern.wire(port=port) for _ in range(20)]
    with socket.create_connection(("127.0.0.1", postern.port), 20, ("127.9.0.1", 0)) as other:
        assert other.recv(100).startswith(b"220 ")
    # One of them goes on and on, without an end of its header.
    silent[0].socket.settimeout(0.5)
    with pytest.raises(ConnectionError):
        for byte in header(extensions=bytes(1000))[:50]:
            silent[0].send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                silent[0].line()
    assert 3 < time.monotonic() - begin < 10
    for wire in silent:
        assert wire.is_closed()
    postern.wait_log("smtp-disconnected", reason="no PROXY header in time")
    with postern.wire(port=port) as wire:
        wire.send(header())
        wire.expect(220)
        deliver(wire)


def test_a_proxy_s_clients_count_one_by_one(make_postern):
    postern = make_postern(start=False, extra="smtp limit sessions-per-address 2")
    port = free_port()
    postern.listen = (f"listen on 127.0.0.1 port {postern.port}\n"
        f"listen on 127.0.0.1 port {port} proxy-v2\n")
    postern.start()
    wires = []
    for number in range(1, 6):  # five clients of one proxy
        wire = postern.wire(port=port)
        wire.send(header(source=f"192.0.2.{number}"))
        wire.expect(220)
        wires.append(wire)
    second = postern.wire(port=port)
    second.send(header(source="192.0.2.1"))
    second.expect(220)
    with postern.wire(port=port) as third:
        third.send(header(source="192.0.2.1"))
        third.expect(421, "4.7.0")
        assert third.is_closed()
    for wire in wires + [second]:
        wire.close()


def test_mask_src_hides_the_client(make_postern):
    postern = make_postern(start=False)
    postern.listen = f"listen on 127.0.0.1 port {postern.port} mask-src hostname other.example.test no-dsn\n"
    postern.start()
    accounts(postern)
    with postern.wire() as wire:
        wire.expect(220, "other.example.test")
        assert "DSN" not in wire.command("EHLO client.test", 250).lines
        wire.command(START + " RET=HDRS", 555)
        deliver(wire)
    (mail,) = postern.wait_mail("alice@example.test")
    received = re.search(rb"^Received: (.*?)\r?\n(?=\S)", mail.data, re.DOTALL | re.MULTILINE).group(1)
    assert b"127.0.0.1" not in received and b"client.test" not in received
    assert received.startswith(b"by other.example.test")


def test_each_address_has_the_name_that_hostnames_gives_it(make_postern):
    postern = make_postern(start=False)
    postern.listen = f"listen on all inet4 port {postern.port} hostname other.example.test " \
        "hostnames { 127.0.0.2 = two.example.test, 127.0.0.3 => three.example.test }\n"
    postern.start()
    accounts(postern)
    for host, name in (("127.0.0.1", "other"), ("127.0.0.2", "two"), ("127.0.0.3", "three")):
        with postern.wire(host=host) as wire:
            wire.expect(220, f"{name}.example.test")
            assert wire.command("EHLO client.test", 250).lines[0].startswith(f"{name}.example.test")
    with postern.wire(host="127.0.0.2") as wire:
        wire.expect(220)
        deliver(wire)
    (mail,) = postern.wait_mail("alice@example.test")
    assert b"by two.example.test" in mail.data
