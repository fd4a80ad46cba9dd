"""metrics on: what Prometheus reads, by whom and how much of it at once."""

import re
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from postern import free_port, wait_for

HEAD = re.compile(r"# (HELP|TYPE) ([a-z_]+) (.+)")
SAMPLE = re.compile(r'([a-z_]+)(?:\{([^}]*)\})? (-?[0-9.]+)')
LABEL = re.compile(r'[a-z]+="[A-Za-z0-9.+]*"')


def parse(text):
    """{name: value, name{labels}: value}; checks the format's rules (exposition 0.0.4)."""
    values, types, helped = {}, {}, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        head = HEAD.fullmatch(line)
        if head and head.group(1) == "HELP":
            assert head.group(2) not in helped, line
            helped.add(head.group(2))
        elif head:
            assert head.group(2) in helped and head.group(2) not in types, line
            types[head.group(2)] = head.group(3)
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            family = name if name in types else re.sub("_(bucket|sum|count)$", "", name)
            assert family == list(types)[-1], f"{line}: not below its TYPE"
            assert (types[family] == "counter") == name.endswith("_total"), line
            assert (types[family] == "histogram") == (family != name), line
            assert all(LABEL.fullmatch(label) for label in (labels or "").split(",") if label), line
            key = f"{name}{{{labels}}}" if labels else name
            assert key not in values, line
            values[key] = float(value)
    assert set(types) == helped and all(name.startswith("postern_") for name in types)
    return values


def curl(path, *arguments, url="http://localhost/metrics"):
    return subprocess.run(["curl", "-sS", "-m", "10", "--unix-socket", str(path), *arguments, url],
        capture_output=True, text=True)


def scrape(postern):
    done = curl(postern.run / "metrics.sock")
    assert done.returncode == 0, done
    return parse(done.stdout)


@pytest.fixture
def watched(make_postern):
    return make_postern(extra="metrics on socket\n"
        f"listen on 127.0.0.1 port {free_port()} imap auth-cleartext\n"
        f"metrics on 127.0.0.1 port {free_port()}\nsmtp limit max-errors 100\n")


def port_of(postern, pattern):
    return int(re.search(pattern, postern.config_file.read_text()).group(1))


def test_what_happens_is_counted(watched):
    import imaplib
    before = scrape(watched)
    with watched.smtp() as client:
        client.ehlo()
        client.mail("a@client.test")
        assert client.rcpt("nobody@example.test")[0] == 550
        client.rcpt("team@example.test")
        assert client.data(b"Subject: x\r\n\r\n" + b"y" * 1000 + b"\r\n")[0] == 250
        during = scrape(watched)
        assert during['postern_sessions{protocol="smtp"}'] == 1
    watched.wait_queue_empty()
    with imaplib.IMAP4("127.0.0.1", port_of(watched, r"port (\d+) imap")) as imap:
        with pytest.raises(imaplib.IMAP4.error):
            imap.login("alice@example.test", "wrong")
        imap.login("alice@example.test", "correct horse battery")
        imap.select()
        assert scrape(watched)['postern_sessions{protocol="imap"}'] == 1
    wait_for(lambda: scrape(watched)['postern_sessions{protocol="imap"}'] == 0)
    after = scrape(watched)

    def grown(key):
        return after[key] - before[key]
    assert grown("postern_messages_accepted_total") == 1
    assert 1000 < grown("postern_messages_accepted_bytes_total") < 2000
    assert grown("postern_recipients_refused_total") == 1
    assert grown('postern_refusals_total{code="5xx",subject="address"}') == 1
    assert grown("postern_queue_envelopes_added_total") == 2
    assert grown('postern_deliveries_total{kind="local",result="ok"}') == 2
    assert grown("postern_delivery_seconds_count") == 2
    assert grown('postern_delivery_seconds_bucket{le="+Inf"}') == 2
    assert grown("postern_message_accept_seconds_count") == 1
    assert grown('postern_connections_total{protocol="imap"}') == 1
    assert grown('postern_logins_total{protocol="imap",result="ok"}') == 1
    assert grown('postern_logins_total{protocol="imap",result="failed"}') == 1
    assert grown('postern_access_bytes_total{protocol="imap",direction="sent"}') > 100
    assert after["postern_queue_envelopes"] == 0
    # smtpctl shows the same.
    stats = watched.stats()
    assert stats["smtp.rejected.permanent.address"] == "1" and stats["auth.imap.failed"] == "1"
    assert stats["mda.delivery.ok"] == "2" and stats["imap.session"] == "0"


def test_deferred_and_held_envelopes_are_told(make_postern):
    postern = make_postern(extra="metrics on socket\nqueue retry-first 1h\n"
        "resolver nameserver 127.0.0.1@1\n",
        rules='action "in" maildir virtual <accounts>\naction "out" relay host smtp://127.0.0.1:1\n'
        'match from any for domain <accounts> action "in"\nmatch from any for any action "out"\n')
    waiting = postern.send("far@away.test")
    wait_for(lambda: scrape(postern)['postern_queue_envelopes_by_state{state="deferred"}'] == 1)
    assert scrape(postern)['postern_deliveries_total{kind="relay",result="tempfail"}'] >= 1
    wait_for(lambda: 2 <= scrape(postern)["postern_queue_oldest_seconds"] < 20)
    postern.smtpctl("pause", "envelope", waiting)
    wait_for(lambda: scrape(postern)['postern_queue_envelopes_by_state{state="held"}'] == 1)
    assert scrape(postern)['postern_queue_envelopes_by_state{state="deferred"}'] == 0
    assert postern.stats()["scheduler.envelope.held"] == "1"
    postern.smtpctl("remove", waiting)
    wait_for(lambda: scrape(postern)["postern_queue_oldest_seconds"] == 0)


def test_it_is_http_on_loopback_too(watched):
    port = port_of(watched, r"metrics on 127.0.0.1 port (\d+)")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    assert parse(text)["postern_uptime_seconds"] >= 0
    # Prometheus' own reader of the format.
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["postern_messages_accepted"].type == "counter"
    assert families["postern_delivery_seconds"].type == "histogram"
    assert sum(len(family.samples) for family in families.values()) == len(parse(text))
    promtool = shutil.which("promtool")
    if promtool:
        subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True)


def test_nothing_else_is_answered(watched):
    path = watched.run / "metrics.sock"

    def code(*arguments, url="http://localhost/metrics"):
        return curl(path, "-o", "/dev/null", "-w", "%{http_code}", *arguments, url=url).stdout
    assert code() == "200" and code("-I") == "200"
    assert code(url="http://localhost/") == code(url="http://localhost/metrics/x") == "404"
    assert code("-d", "x=y") in ("405", "413", "501")
    assert code("-X", "DELETE") in ("405", "501")
    assert code("-H", "X: " + "y" * 20000) in ("400", "413")
    for rubbish in (b"\0" * 100000, b"GET /metrics\r\n\r\n", b"\r\n" * 5000, b"HELO x\r\n",
            b"GET /metrics HTTP/1.1\r\n" + b"A" * 100000, b"GET http://[:/ HTTP/9.9\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.settimeout(10)
            try:
                client.sendall(rubbish)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert scrape(watched)["postern_queue_envelopes"] == 0


@pytest.mark.time_limit(60)
def test_who_keeps_connections_open_keeps_others_out_for_seconds_only(watched):
    path = watched.run / "metrics.sock"
    clients = []
    for number in range(18):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        if number % 2:
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
        clients.append(client)
    # smtpctl has sockets of its own.
    began = time.monotonic()
    watched.smtpctl("show", "status")
    assert time.monotonic() - began < 2
    (control,) = watched.pids("control")
    sockets = subprocess.run(["ls", "-l", f"/proc/{control}/fd"], capture_output=True,
        text=True).stdout.count("socket:")
    assert sockets < 16 + 16
    done = curl(path, "-m", "30")
    assert done.returncode == 0 and parse(done.stdout)
    for client in clients:
        client.close()


def test_reload_opens_and_closes_the_sockets(postern):
    path = postern.run / "metrics.sock"
    assert not path.exists()
    text = postern.config_file.read_text()
    postern.config_file.write_text(text + "metrics on socket\n")
    postern.smtpctl("reload")
    assert scrape(postern)
    postern.smtpctl("reload")
    assert scrape(postern)
    postern.kill_and_wait_back("control")
    wait_for(lambda: curl(path).returncode == 0)
    postern.config_file.write_text(text)
    postern.smtpctl("reload")
    assert not path.exists() and curl(path).returncode != 0


@pytest.mark.parametrize("line", ["metrics on 0.0.0.0", "metrics on 192.0.2.1 port 9125",
    "metrics on ::", "metrics on 127.0.0.1 port 0", "metrics on socket metrics.sock",
    "metrics on socket\nmetrics on socket", "metrics on 127.0.0.1 tls", "metrics"])
def test_what_would_show_them_elsewhere_is_refused(make_postern, line):
    postern = make_postern(start=False, extra=line + "\n")
    postern.write_config()
    done = postern.smtpd("-n")
    assert done.returncode == 78 and "smtpd.conf:" in done.stderr
