"""The bench's client and what accounts for its messages: figures that rest on them must be true."""

import json
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
RUN = 7


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bench")
    for name in ("load", "verify"):
        subprocess.run(["gcc", "-std=gnu17", "-O1", "-D_GNU_SOURCE", f"-I{TOP}", "-o",
            directory / name, TOP / f"regress/bench/{name}.c", TOP / "regress/bench/text.c",
            TOP / "common/crc32c.c", "-lm"], check=True)
    return directory


class Bench:
    def __init__(self, tools, postern):
        self.tools = tools
        self.postern = postern

    def load(self, *words, status=0):
        result = subprocess.run([self.tools / "load", "-t", "alice@example.test", "-R", str(RUN),
            *words, str(self.postern.port)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
            timeout=60, text=True)
        assert result.returncode == status
        return json.loads(result.stdout)

    def verify(self, messages, recipients=1):
        result = subprocess.run([self.tools / "verify", str(RUN), str(messages), str(recipients),
            self.postern.maildir("alice@example.test")], stdout=subprocess.PIPE, check=True,
            timeout=60, text=True)
        return json.loads(result.stdout)

    def files(self, count):
        return self.postern.wait_mail("alice@example.test", count)


@pytest.fixture
def bench(tools, make_postern):
    return Bench(tools, make_postern(extra="smtp limit sessions-per-address 1000"))


@pytest.mark.parametrize("options", [["-s", "5"], ["-s", "5", "-n"], ["-s", "5", "-c"],
    ["-s", "3", "-l", "mix", "-S", "3"]], ids=" ".join)
def test_all_messages_arrive_whole(bench, options):
    sent = bench.load("-m", "60", *options)
    assert sent["acknowledged"] == 60 and sent["refused"] == 0
    assert 0 < sent["latency_ms"]["p50"] <= sent["latency_ms"]["p99"]
    bench.files(60)
    found = bench.verify(60)
    assert (found["present"], found["whole"], found["duplicates"], found["damaged"]) == \
        (60, 60, 0, 0)


def test_a_damaged_a_missing_and_a_double_message_are_told(bench):
    bench.load("-m", "20", "-s", "4", "-l", "2000")
    one, two, three, four = [mail.path for mail in bench.files(20)][:4]
    text = bytearray(one.read_bytes())
    text[-400] ^= 1
    one.write_bytes(text)
    lines = two.read_bytes().split(b"\n")
    lines[-5], lines[-6] = lines[-6], lines[-5]
    two.write_bytes(b"\n".join(lines))
    three.unlink()
    (four.parent / "copy").write_bytes(four.read_bytes())
    found = bench.verify(20)
    assert (found["present"], found["damaged"], found["duplicates"]) == (17, 2, 1)


def test_what_is_refused_is_counted_and_never_called_sent(bench):
    sent = bench.load("-t", "nobody@example.test", "-m", "1", "-T", "1500", status=75)
    assert sent["acknowledged"] == 0 and sent["refused"] >= 1
    assert sent["refusal"].startswith("RCPT: 550 ")


def test_idle_sessions_are_held_until_told(bench):
    process = subprocess.Popen([bench.tools / "load", "-i", "-B", "-s", "300",
        str(bench.postern.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    settled = json.loads(process.stdout.readline())
    assert (settled["held"], settled["refused"], settled["waiting"]) == (300, 0, 0)
    assert process.poll() is None
    process.stdin.close()
    assert json.loads(process.stdout.readline())["dropped"] == 0
    assert process.wait(20) == 0
