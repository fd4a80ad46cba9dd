"""The control socket under attack, and peers that fail: only what is to blame suffers."""

import os
import pwd
import resource
import socket
import struct
import subprocess

import pytest

from control_suite import (ACCOUNT, CHILD_STOP, CONTROL_DONE, CONTROL_REQUEST, DONE,
    DOMAIN_ADD, ENVELOPE, LINE, PROGRAM_DIRECTORY, PROGRAM_QUEUE, QUEUE_ACT, QUEUE_LIST,
    QUEUE_LIST_MORE, QUEUE_MESSAGE, QUEUE_STATUS, REMOVE, STATS, STATUS, USER_ADD,
    USER_LIST, ControlSuite, account_payload, act_payload, filter_payload, frame, mail, read_result,
    result, text)
from postern import BUILD, wait_for

CONNECTIONS_MAX = 64
# Its freed memory stays in quarantine.
SANITIZED = b"__asan_init" in (BUILD / "bin/control").read_bytes()


@pytest.fixture
def suite():
    with ControlSuite() as instance:
        yield instance


@pytest.mark.parametrize("junk", [
    frame(QUEUE_ACT, payload=act_payload(REMOVE))[:-1],
    b"\x0b",
    frame(STATS, length=2**31),
    frame(STATS, length=2**32 - 1),
    frame(STATS, length=0),
    frame(STATS, length=15),
    frame(STATS, length=16401),
    frame(STATS, flags=0xfffe),
    frame(STATS, flags=1),
    frame(0),
    frame(DONE, payload=result()),
    frame(99),
    frame(65535),
    frame(QUEUE_ACT),
    frame(QUEUE_ACT, payload=act_payload(250)),
    frame(QUEUE_ACT, payload=act_payload(REMOVE, state=77)),
    frame(QUEUE_ACT, payload=act_payload(REMOVE, sender=b"a\0b")),
    frame(QUEUE_ACT, payload=act_payload(REMOVE, sender="x" * 10000)),
    frame(ACCOUNT, payload=account_payload(DOMAIN_ADD, *["w"] * 65)),
    frame(ACCOUNT, payload=struct.pack("<BII", DOMAIN_ADD, 0, 2**32 - 1)),
    frame(QUEUE_MESSAGE, payload=filter_payload()),
    frame(STATS, payload=b"x"),
    b"GET / HTTP/1.0\r\n\r\n",
    os.urandom(4096),
], ids=range(24))
def test_a_bad_frame_ends_its_own_connection_alone(suite, junk):
    other = suite.connect()
    bad = suite.connect()
    bad.socket.sendall(junk)
    bad.socket.shutdown(socket.SHUT_WR)
    assert bad.has_ended()
    other.send(STATS)
    assert other.receive().type == STATS
    assert other.receive().type == DONE


def test_descriptors_sent_to_it_are_closed(suite):
    assert suite.serves()
    before = suite.descriptors()
    for _ in range(50):
        client = suite.connect()
        with open("/dev/null", "rb") as null:
            client.send(STATS, 1, b"", null.fileno())
        assert client.receive().type == STATS
        client.close()
    assert suite.serves()
    wait_for(lambda: suite.descriptors() <= before, 10, "the descriptors are closed")


def test_a_thousand_idle_or_stuck_connections_keep_nobody_out(suite):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    waiting = suite.smtpctl("remove", "all")
    request = suite.queue.receive()
    attackers = []
    for number in range(1000):
        attacker = suite.connect()
        attacker.socket.sendall([b"", b"\x0b\x00", frame(STATS), frame(99)][number % 4])
        attackers.append(attacker)
    assert suite.serves()
    assert suite.descriptors() <= CONNECTIONS_MAX + 20
    # A request that was in hand all the while has not been thrown out.
    suite.queue.send(DONE, request.id, result(count=7))
    out, err = waiting.communicate(timeout=10)
    assert (out, err) == ("7 envelopes removed\n", "")


def test_a_second_request_before_the_answer_ends_the_connection(suite):
    client = suite.connect()
    client.send(QUEUE_ACT, 1, act_payload(REMOVE))
    client.send(QUEUE_ACT, 2, act_payload(REMOVE))
    request = suite.queue.receive()
    assert client.has_ended()
    # What was passed on is seen through, and logged.
    suite.queue.send(DONE, request.id, result(count=4))
    assert "envelopes=4" in suite.wait_log("control-command")
    assert suite.serves()


def test_a_caller_that_never_reads_costs_one_portion_of_a_listing(suite):
    client = suite.connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(QUEUE_LIST, 1, filter_payload())
    envelope = mail(1)
    portions = 0
    suite.queue.socket.settimeout(0.5)
    before = suite.memory()
    try:
        while portions < 400:
            request = suite.queue.receive()
            portion = struct.unpack("<I", request.payload[-4:])[0]
            assert 0 < portion <= 1024
            portions += 1
            for _ in range(portion):
                suite.queue.send(ENVELOPE, request.id, envelope)
            suite.queue.send(QUEUE_LIST_MORE, request.id, struct.pack("<Q", portions))
    except TimeoutError:
        pass
    # What the sockets' buffers hold, and then no more is asked for: far from a million envelopes.
    assert portions < 20
    assert suite.memory() - before < (64 if SANITIZED else 4) * 2**20
    suite.queue.socket.settimeout(10)
    assert suite.serves()
    # Once it reads on, the listing goes on from its cursor.
    for _ in range(portion):
        assert client.receive().type == ENVELOPE
    count = portion
    while count < portions * portion:
        assert client.receive().type == ENVELOPE
        count += 1
    request = suite.queue.receive()
    assert request.type == QUEUE_LIST
    assert struct.unpack("<QI", request.payload[-12:])[0] == portions
    suite.queue.send(DONE, request.id, result())
    assert client.receive().type == DONE


def test_a_listing_whose_caller_has_gone_stops(suite):
    client = suite.connect()
    client.send(QUEUE_LIST, 1, filter_payload())
    request = suite.queue.receive()
    client.close()
    assert suite.serves()
    suite.queue.send(ENVELOPE, request.id, mail(1))
    suite.queue.send(QUEUE_LIST_MORE, request.id, struct.pack("<Q", 1))
    # Nothing more is asked for: the next frame is another caller's request.
    client = suite.connect()
    client.send(STATUS)
    assert suite.queue.receive().type == QUEUE_STATUS


def test_an_account_list_that_nobody_reads_is_bounded(suite):
    client = suite.connect()
    client.send(ACCOUNT, 1, account_payload(USER_LIST))
    request = suite.directory.receive()
    line = text("u" * 200 + "@example.test\t0\t0")
    sent = 0
    while sent < 64 * 2**20:
        suite.directory.socket.sendall(frame(LINE, request.id, line) * 100)
        sent += 100 * len(line)
    assert suite.serves()
    assert suite.memory() < (512 if SANITIZED else 128) * 2**20
    assert client.has_ended()


def test_frames_from_the_queue_that_were_not_asked_for_hurt_nobody(suite):
    suite.queue.send(DONE, 12345, result(count=3))
    suite.queue.send(ENVELOPE, 12345, mail(1))
    suite.queue.send(QUEUE_LIST_MORE, 12345, struct.pack("<Q", 1))
    client = suite.connect()
    client.send(QUEUE_ACT, 1, act_payload(REMOVE))
    request = suite.queue.receive()
    suite.queue.send(DONE, request.id, b"not a result")
    answer = client.receive()
    assert read_result(answer.payload)[0] == os.EX_TEMPFAIL
    assert suite.serves()


def test_a_peer_that_dies_fails_what_waited_and_its_successor_serves(suite):
    client = suite.connect()
    client.send(QUEUE_ACT, 1, act_payload(REMOVE))
    assert suite.queue.receive().type == QUEUE_ACT
    suite.queue.close()
    code, _count, words = read_result(client.receive().payload)
    assert code == os.EX_TEMPFAIL
    assert "queue" in words
    client.send(QUEUE_LIST, 2, filter_payload())
    code, _count, words = read_result(client.receive().payload)
    assert (code, words) == (os.EX_TEMPFAIL, "the queue is not running; try again in a moment")
    # The directory is not touched by that.
    client.send(ACCOUNT, 3, account_payload(DOMAIN_ADD, "example.test"))
    request = suite.directory.receive()
    suite.directory.send(DONE, request.id, result())
    assert read_result(client.receive().payload)[0] == 0
    suite.queue = suite.give_peer(PROGRAM_QUEUE)
    client.send(QUEUE_ACT, 4, act_payload(REMOVE))
    request = suite.queue.receive()
    suite.queue.send(DONE, request.id, result(count=1))
    assert read_result(client.receive().payload) == (0, 1, "")


def test_a_peer_replaced_while_it_lives_fails_what_waited(suite):
    client = suite.connect()
    client.send(ACCOUNT, 1, account_payload(DOMAIN_ADD, "example.test"))
    old, request = suite.directory, suite.directory.receive()
    suite.directory = suite.give_peer(PROGRAM_DIRECTORY)
    assert read_result(client.receive().payload)[0] == os.EX_TEMPFAIL
    assert request.type == ACCOUNT
    assert old.has_ended()
    old.close()


def test_every_change_is_logged_with_the_callers_uid_and_no_forged_line(suite):
    evil = 'x"@e.test\n2026 control[1]: control-command uid=0 \x1b[2J'
    client = suite.connect()
    client.send(QUEUE_ACT, 1, act_payload(REMOVE, uid=4711, sender=evil))
    request = suite.queue.receive()
    # The uid is the kernel's, not the one in the payload.
    assert struct.unpack_from("<BI", request.payload) == (REMOVE, os.geteuid())
    suite.queue.send(DONE, request.id, result(count=12))
    assert client.receive().type == DONE
    line = suite.wait_log("control-command")
    assert f"uid={os.geteuid()} " in line and "verb=remove" in line and "envelopes=12" in line
    assert "\x1b" not in suite.log()
    assert len([one for one in suite.log().splitlines() if "control-command" in one]) == 1

    client.send(ACCOUNT, 2, account_payload(USER_ADD, "u@example.test", "$y$j9T$verysecret"))
    request = suite.directory.receive()
    assert b"$y$j9T$verysecret" in request.payload
    suite.directory.send(DONE, request.id, result(code=os.EX_DATAERR, words="no such domain"))
    assert client.receive().type == DONE
    # The directory writes that line.
    assert "user add" not in suite.log()
    client.send(ACCOUNT, 3, account_payload(USER_ADD, "u@example.test", "$y$j9T$verysecret"))
    assert suite.directory.receive().type == ACCOUNT
    suite.directory.close()
    suite.directory = suite.give_peer(PROGRAM_DIRECTORY)
    assert read_result(client.receive().payload)[0] == os.EX_TEMPFAIL
    line = suite.wait_log("user add")
    assert "status=75" in line and f"uid={os.geteuid()} " in line and "u@example.test" in line
    assert "verysecret" not in suite.log()


def test_a_look_is_not_logged(suite):
    client = suite.connect()
    client.send(STATS)
    assert client.receive().type == STATS
    assert client.receive().type == DONE
    assert "control-command" not in suite.log()


def test_status_is_put_together_from_queue_and_supervisor(suite):
    asking = suite.smtpctl("show", "status")
    request = suite.queue.receive()
    assert request.type == QUEUE_STATUS
    suite.queue.send(DONE, request.id, result(words="MDA running\nMTA paused"))
    request = suite.supervisor.receive()
    assert request.type == CONTROL_REQUEST
    suite.supervisor.send(CONTROL_DONE, request.id, b"\1" + text("running"))
    out, err = asking.communicate(timeout=10)
    assert (out, err) == ("MDA running\nMTA paused\nSMTP running\n", "")


def test_stop_finishes_what_is_in_hand(suite):
    client = suite.connect()
    client.send(QUEUE_ACT, 1, act_payload(REMOVE))
    request = suite.queue.receive()
    suite.supervisor.send(CHILD_STOP, 0)
    wait_for(lambda: refuses(suite.path), 10, "no new connections")
    assert suite.process.poll() is None
    suite.queue.send(DONE, request.id, result(count=5))
    assert read_result(client.receive().payload) == (0, 5, "")
    assert suite.process.wait(10) == 0
    suite.ended = True


EXPLAIN, EXPLAIN_STEP, EXPLAIN_RELAY, EXPLAIN_ROUTE, EXPLAIN_HOST, EXPLAIN_QUEUE, HOST_LIST, HOST = \
    range(17, 25)
PROGRAM_RELAY = 8
RELAY_STEP = 10  # EXPLAIN_RELAY of enum explain_step


def rcpt_payload(local="x", domain="far.test", family=0):
    return (struct.pack("<B16s", family, b"") + text("") + b"\0\0" + text("") * 3 + text("") * 2 + text(local) +
        text(domain) + struct.pack("<Q", 0) + text("") * 2)


def step_payload(step, to):
    return struct.pack("<BI", step, 0) + text("x@far.test") + text("out") + text(to) + text("") + \
        struct.pack("<QQBQQ", 0, 0, 0, 0, 0)


def route_payload():
    return (struct.pack("<H", 250) + text("2.0.0") + text("found") + struct.pack("<BBII", 0, 0, 1, 60) +
        text("") + b"\0" + text(""))


def explain_up_to_the_relay(suite):
    """A caller whose explanation has come to the relay; that and the relay's request."""
    relay = suite.give_peer(PROGRAM_RELAY)
    client = suite.connect()
    client.send(EXPLAIN, 1, rcpt_payload())
    asked = suite.directory.receive()
    assert asked.type == EXPLAIN and asked.payload == rcpt_payload()
    suite.directory.send(EXPLAIN_STEP, asked.id, step_payload(RELAY_STEP, "far.test"))
    suite.directory.send(DONE, asked.id, result(count=1, words="250 2.1.5 recipient ok"))
    assert client.receive().type == EXPLAIN_STEP
    assert client.receive().type == EXPLAIN_RELAY
    return client, relay, relay.receive()


def finish_explanation(suite, client):
    """The queue tells its part: what the caller gets until the end."""
    asked = suite.queue.receive()
    assert asked.type == EXPLAIN_RELAY
    suite.queue.send(EXPLAIN_QUEUE, asked.id, struct.pack("<B5IQ", 0, 0, 0, 0, 0, 0, 0))
    suite.queue.send(DONE, asked.id, result())
    frames = []
    while not frames or frames[-1].type != DONE:
        frames.append(client.receive())
    assert read_result(frames[-1].payload) == (0, 1, "250 2.1.5 recipient ok")
    return [frame_.type for frame_ in frames]


def test_an_explanation_without_a_relay(suite):
    client = suite.connect()
    client.send(EXPLAIN, 1, rcpt_payload())
    asked = suite.directory.receive()
    suite.directory.send(EXPLAIN_STEP, asked.id, step_payload(RELAY_STEP, "far.test"))
    suite.directory.send(DONE, asked.id, result(count=1, words="250 2.1.5 recipient ok"))
    assert finish_explanation(suite, client) == [EXPLAIN_STEP, EXPLAIN_RELAY, LINE, EXPLAIN_QUEUE, DONE]


def test_a_relay_that_dies_leaves_its_part_out(suite):
    client, relay, asked = explain_up_to_the_relay(suite)
    relay.send(EXPLAIN_ROUTE, asked.id, route_payload())
    relay.close()
    assert finish_explanation(suite, client) == [EXPLAIN_ROUTE, LINE, EXPLAIN_QUEUE, DONE]


@pytest.mark.parametrize("frames", [
    [(EXPLAIN_ROUTE, b"junk")], [(EXPLAIN_HOST, b"")], [(HOST, b"")], [(LINE, text("words"))],
    [(EXPLAIN_ROUTE, route_payload())] * 2, [(EXPLAIN_ROUTE, route_payload() + b"x")],
    [(QUEUE_LIST_MORE, struct.pack("<Q", 1))], [(EXPLAIN_STEP, step_payload(RELAY_STEP, "evil.test"))],
    [(ENVELOPE, mail(1))], [(DONE, b"junk")], [(99, b"")],
], ids=range(11))
def test_a_hostile_relay_costs_its_own_channel(suite, frames):
    """Its part is left out, the supervisor hears of it, and the caller gets the rest."""
    client, relay, asked = explain_up_to_the_relay(suite)
    for kind, payload in frames:
        relay.send(kind, asked.id, payload)
    told = finish_explanation(suite, client)
    assert told[-3:] == [LINE, EXPLAIN_QUEUE, DONE]
    assert suite.supervisor.receive().payload == struct.pack("<BI", PROGRAM_RELAY, 0)
    assert relay.has_ended()
    assert suite.serves()


def test_a_relay_whose_listing_never_ends_is_stopped(suite):
    """Its cursor must lead on."""
    relay = suite.give_peer(PROGRAM_RELAY)
    client = suite.connect()
    client.send(HOST_LIST)
    asked = relay.receive()
    relay.send(QUEUE_LIST_MORE, asked.id, struct.pack("<Q", 5))
    asked = relay.receive()
    assert asked.payload[:8] == struct.pack("<Q", 5)
    relay.send(QUEUE_LIST_MORE, asked.id, struct.pack("<Q", 5))
    assert read_result(client.receive().payload)[0] == os.EX_TEMPFAIL
    assert relay.has_ended() and suite.serves()


def test_a_caller_of_an_explanation_that_goes_away(suite):
    client, relay, asked = explain_up_to_the_relay(suite)
    client.close()
    wait_for(lambda: "smtpctl's connection has ended" in suite.log())
    relay.send(EXPLAIN_ROUTE, asked.id, route_payload())
    relay.send(DONE, asked.id, result())
    assert suite.serves()


def refuses(path):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
    return False


@pytest.mark.root
@pytest.mark.parametrize("words", [
    ["show", "queue"], ["show", "message", "12345678"], ["show", "envelope", "1234567800000001"],
    ["show", "stats"], ["show", "status"], ["schedule", "all"], ["remove", "all"], ["expire", "all"],
    ["discover", "12345678"], ["pause", "envelope", "all"], ["pause", "mda"], ["pause", "mta"],
    ["pause", "smtp"], ["resume", "envelope", "all"], ["resume", "mda"], ["resume", "mta"],
    ["resume", "smtp"], ["monitor", "1"], ["log", "brief"], ["log", "verbose"], ["trace", "all"],
    ["untrace", "all"], ["reload"], ["stop"], ["domain", "add", "x.test"], ["domain", "del", "x.test"],
    ["domain", "list"], ["user", "add", "u@x.test", "no-password"], ["user", "del", "u@x.test"],
    ["user", "list"], ["user", "quota", "u@x.test", "1G"], ["alias", "add", "a@x.test", "u@x.test"],
    ["alias", "del", "a@x.test"], ["alias", "list"], ["explain", "--to", "u@x.test"],
    ["show", "hosts"], ["show", "routes"], ["show", "hoststats"],
], ids=" ".join)
def test_an_ordinary_user_may_do_nothing(ordinary, words):
    suite, run = ordinary
    result_ = run([BUILD / "bin/smtpctl", "-s", suite.path, *words])
    assert (result_.stdout, result_.stderr) == ("", "smtpctl: need root privileges\n")
    assert result_.returncode == os.EX_NOPERM


@pytest.fixture(scope="module")
def ordinary():
    """A suite whose socket anybody may connect to, and a function that runs things as nobody."""
    nobody = pwd.getpwnam("nobody")

    def run(words):
        return subprocess.run(["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}",
            "--clear-groups"] + words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, timeout=20, cwd="/")
    with ControlSuite() as suite:
        os.chmod(suite.base, 0o755)
        os.chmod(suite.path, 0o666)
        yield suite, run
        assert suite.serves()
        # Refused without being read: nothing reached the queue.
        suite.queue.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            suite.queue.receive()


@pytest.mark.root
def test_a_flood_of_an_ordinary_user_keeps_root_neither_out_nor_its_log_full(ordinary):
    suite, run = ordinary
    script = ("import socket, sys\nall = []\nfor i in range(900):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); all.append(s)\n"
        "print(len(all))\n")
    flood = run(["/usr/bin/python3", "-c", script, suite.path])
    assert flood.stdout == "900\n"
    assert suite.serves()
    assert suite.log().count("control-refused") <= 10
