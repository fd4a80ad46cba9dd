"""Limits of sessions: how many there may be, from where, for how long, and at what cost."""

import itertools
import os
import pathlib
import re
import resource
import socket
import subprocess
import time

import pytest

from postern import Wire, processes, wait_for

START = "MAIL FROM:<erin@client.test>"
TO = "RCPT TO:<alice@example.test>"


class From(Wire):
    """A connection from a loopback address of choice."""

    def __init__(self, source, port, timeout=20.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self.socket.settimeout(timeout)
        self.buffer = b""
        self.transcript = []


def test_an_address_gets_its_sessions_and_no_more(make_postern):
    postern = make_postern(extra="smtp limit sessions-per-address 4")
    wires = [From("127.1.0.1", postern.port) for _ in range(4)]
    for wire in wires:
        wire.expect(220)
    for _ in range(8):
        with From("127.1.0.1", postern.port) as refused:
            refused.expect(421, "4.7.0")
            assert refused.is_closed()
    with From("127.1.0.2", postern.port) as other:
        other.hello()
    postern.wait_log("smtp-refused", address="127.1.0.1")
    # A session's end makes room for another.
    wires.pop().close()

    def enters():
        with From("127.1.0.1", postern.port) as again:
            return again.reply().code == 220
    wait_for(enters, what="another session is let in")


def test_a_network_gets_its_sessions_and_no_more(make_postern):
    postern = make_postern(extra="smtp limit sessions-per-network 4")
    wires = [From(f"127.1.0.{n}", postern.port) for n in range(1, 5)]
    for wire in wires:
        wire.expect(220)
    with From("127.1.0.9", postern.port) as refused:
        refused.expect(421, "4.7.0")
    with From("127.2.0.1", postern.port) as other:
        other.hello()
    for wire in wires:
        wire.command("NOOP", 250)


def test_the_total_is_limited(make_postern):
    postern = make_postern(extra="smtp limit sessions 3")
    wires = [From(f"127.{n}.0.1", postern.port) for n in range(1, 4)]
    for wire in wires:
        wire.expect(220)
    with From("127.9.0.1", postern.port) as refused:
        refused.expect(421)


def test_a_flood_from_one_address_keeps_nobody_out(make_postern):
    postern = make_postern(extra="smtp limit sessions-per-address 50")
    flood = []
    for _ in range(2000):
        attacker = socket.socket()
        attacker.setblocking(False)
        attacker.bind(("127.66.0.1", 0))
        attacker.connect_ex(("127.0.0.1", postern.port))
        flood.append(attacker)
    begin = time.monotonic()
    with From("127.1.0.1", postern.port) as other:
        other.hello()
        other.command(START, 250)
        other.command(TO, 250)
        other.command("DATA", 354)
        other.send("Subject: x\r\n\r\nx\r\n.\r\n")
        other.expect(250)
    assert time.monotonic() - begin < 10
    for attacker in flood:
        attacker.close()
    # A line a second and process tells of the flood, not one a connection.
    assert len(postern.log_lines("smtp-refused")) < 200


@pytest.mark.parametrize("step", ["command", "half a command", "text", "chunk"])
def test_an_idle_session_ends(make_postern, step):
    postern = make_postern(extra="smtp limit idle-time 1s")
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        wire.command(TO, 250)
        if step == "half a command":
            wire.send("NOO")
        elif step == "text":
            wire.command("DATA", 354)
            wire.send("Subject: x\r\n")
        elif step == "chunk":
            wire.send("BDAT 100 LAST\r\nSubject: x\r\n")
        wire.expect(421, "4.4.2")
        assert wire.is_closed()
    postern.wait_log("smtp-disconnected", reason="timeout")
    assert not postern.mails("alice@example.test")


def test_a_session_that_drips_ends(make_postern):
    postern = make_postern(extra="smtp limit idle-time 5s\nsmtp limit session-time 2s")
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        wire.command(TO, 250)
        wire.command("DATA", 354)
        wire.socket.settimeout(0.2)
        begin = time.monotonic()
        while time.monotonic() - begin < 15:
            try:
                wire.send(b"x")
                wire.expect(421, "4.4.2")
                break
            except TimeoutError:
                continue
        assert time.monotonic() - begin < 10
    postern.wait_log("smtp-disconnected", reason="timeout")


def test_a_client_that_never_reads_its_replies_ends(make_postern):
    postern = make_postern(extra="smtp limit idle-time 2s\nsmtp limit noops 100000000")
    with postern.wire(timeout=1) as wire:
        wire.expect(220)
        sent = 0
        with pytest.raises((TimeoutError, ConnectionError)):
            for _ in range(10000):
                wire.send("HELP\r\n" * 1000)
                sent += 1
        assert sent < 10000
        postern.send("bob@example.test")
        postern.wait_log("smtp-disconnected", reason="timeout, replies not read")
    assert max(memory(process.pid) for process in listeners(postern)) < 64 * 1024 * 1024


def listeners(postern):
    pids = postern.pids("listener")
    return [process for pid, process in processes().items() if pid in pids]


def memory(pid):
    """Private and shared anonymous bytes in use."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    kib = re.search(r"^RssAnon:\s+(\d+)", text, re.MULTILINE)
    shared = re.search(r"^RssShmem:\s+(\d+)", text, re.MULTILINE)
    return (int(kib.group(1)) + int(shared.group(1))) * 1024


def memory_of_all(postern):
    pids = postern.pids()
    pids = pids.keys() if isinstance(pids, dict) else pids
    return sum(memory(pid) for pid in pids)


@pytest.mark.time_limit(180)
def test_ten_thousand_idle_sessions_cost_little(make_postern):
    count = 10000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        pytest.skip(f"only {hard} open files allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 500, hard))
    postern = make_postern(extra="smtp limit sessions-per-address 20000\n"
        "smtp limit sessions-per-network 20000")
    clients = []
    try:
        before = memory_of_all(postern)
        for number in range(count):
            client = From(f"127.0.{number % 100}.1", postern.port, 60)
            client.expect(220)
            client.send("EHLO idle.client.test\r\n")
            clients.append(client)
        for client in clients:
            client.reply()
        after = memory_of_all(postern)
        each = (after - before) / count
        print(f"{each:.0f} bytes a session")
        assert each <= 16 * 1024
        begin = time.monotonic()
        postern.send("alice@example.test")
        assert time.monotonic() - begin < 5
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limit_descriptors(pid, room):
    """So many more than a process has. Only who has its uid may do that, not even root."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = (number for number in itertools.count() if number not in used)
    limit = next(itertools.islice(free, room, None))
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    uid, gid = (re.search(rf"^{word}:\s+(\d+)", status, re.MULTILINE).group(1)
        for word in ("Uid", "Gid"))
    command = ["prlimit", "--pid", str(pid), f"--nofile={limit}:"]
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"] + command
    subprocess.run(command, check=True)


def test_without_descriptors_service_goes_on_after(make_postern):
    postern = make_postern()
    postern.allow("no descriptors left")
    room = 12
    for pid in postern.pids("listener"):
        limit_descriptors(pid, room)
    wires = []
    refused = 0
    processes_count = len(postern.pids("listener"))
    for _ in range(room * processes_count + 10):
        wire = postern.wire()
        wire.socket.settimeout(1)
        try:
            code = wire.reply().code
        except (TimeoutError, ConnectionError):
            refused += 1
            wire.close()
            continue
        if code == 220:
            wires.append(wire)
        else:
            assert code == 421
            refused += 1
            wire.close()
    assert wires and refused
    # Those that are in are served, though a message finds no descriptor: 4xx, not a lost one.
    wires[0].command("EHLO client.test", 250)
    wires[0].command(START, 250)
    wires[0].command(TO, 250)
    wires[0].command("DATA", 354)
    wires[0].send("Subject: x\r\n\r\nx\r\n.\r\n")
    assert wires[0].reply().code in (250, 451, 452)
    for wire in wires:
        wire.close()
    wait_for(lambda: len(postern.log_lines("smtp-disconnected")) >= len(wires), what="all ended")

    def served():
        try:
            with postern.wire(timeout=2) as wire:
                return wire.reply().code == 220
        except (TimeoutError, ConnectionError):
            return False
    wait_for(served, what="service goes on")
    postern.send("bob@example.test")


def test_a_recipient_too_many_for_one_message_is_told_so_before_the_text(make_postern):
    """Each list leads to 6,000 mailboxes, and a message goes to 10,000 at most."""
    postern = make_postern(start=False, extra="smtp limit targets 10000\n"
        "table lists file:@BASE@/lists\ntable owners file:@BASE@/owners\n",
        rules='action "in" maildir "@BASE@/vmail/%{dest.user}" virtual <lists> userbase <owners>\n'
        'match from any for domain "lists.test" action "in"\n')
    owner = f"5000:5000:{postern.base}/vmail"
    lists, owners = [], []
    for name in "ab":
        users = [f"{name}{number}" for number in range(6000)]
        parts = [users[at:at + 300] for at in range(0, 6000, 300)]
        lists += [f"{name}.{number}@lists.test {', '.join(part)}\n" for number, part in enumerate(parts)]
        lists.append(f"{name}@lists.test {', '.join(f'{name}.{n}@lists.test' for n in range(20))}\n")
        owners += [f"{user} {owner}\n" for user in users]
    (postern.base / "lists").write_text("".join(lists))
    (postern.base / "owners").write_text("".join(owners))
    postern.start()
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        wire.command("RCPT TO:<a@lists.test>", 250)
        wire.command("RCPT TO:<b@lists.test>", 452, "4.5.3")
        wire.command("RCPT TO:<a@lists.test>", 250)
        wire.command("RSET", 250)
        wire.command(START, 250)
        wire.command("RCPT TO:<b@lists.test>", 250)
    assert postern.wait_log("rcpt-refused", to="b@lists.test")["reply"].startswith("452 4.5.3")


def test_stopping_ends_idle_sessions_and_finishes_messages(make_postern):
    postern = make_postern()
    idle, busy = postern.wire(), postern.wire()
    idle.hello()
    busy.hello()
    busy.command(START, 250)
    busy.command(TO, 250)
    busy.command("DATA", 354)
    busy.send("Subject: last\r\n")
    postern.process.terminate()
    idle.expect(421, "4.3.2")
    assert idle.is_closed()
    busy.send("\r\nlast\r\n.\r\n")
    busy.expect(250)
    busy.expect(421, "4.3.2")
    assert busy.is_closed()
    assert postern.ended() == 0
    postern.start()
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.body == b"last\n"


def test_pausing_lets_sessions_go_on_and_new_ones_wait(postern):
    with postern.wire() as wire:
        wire.hello()
        postern.smtpctl("pause", "smtp")
        wire.command("NOOP", 250)
        with postern.wire(timeout=0.5) as waiting:
            with pytest.raises(TimeoutError):
                waiting.line()
            waiting.socket.settimeout(20)
            postern.smtpctl("resume", "smtp")
            waiting.expect(220)


def test_a_reload_changes_new_sessions_and_keeps_old_ones(make_postern):
    postern = make_postern(extra="smtp max-message-size 100K")
    with postern.wire() as old:
        assert "SIZE 102400" in old.hello()
        postern.extra = "smtp max-message-size 200K"
        postern.write_config()
        postern.smtpctl("reload")
        with postern.wire() as new:
            assert "SIZE 204800" in new.hello()
        old.command(START, 250)
        old.command(TO, 250)
        old.command("DATA", 354)
        old.send("Subject: x\r\n\r\nx\r\n.\r\n")
        old.expect(250)


def test_a_killed_listener_takes_only_its_own_sessions(postern):
    with postern.wire() as wire:
        wire.hello()
        seconds = postern.kill_and_wait_back("listener")
        assert seconds < 2
        postern.send("alice@example.test")
        postern.wait_mail("alice@example.test")
