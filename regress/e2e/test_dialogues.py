"""Dialogues as the RFCs print them, in dialogues/: each file names its section and is played as it
stands (postern.play() tells the notation) against mx.example.test, where alice@, bob@ and the
alias team@ are known at example.test. Files of RFC 2033 are played over LMTP."""

import pathlib

import pytest

from postern import Postern, Wire, free_port, play

DIALOGUES = sorted((pathlib.Path(__file__).parent / "dialogues").glob("*.txt"))


@pytest.fixture(scope="module")
def suite(stage):
    instance = Postern(stage)
    instance.lmtp_port = free_port()
    instance.listen = (f"listen on 127.0.0.1 port {instance.port}\n"
        f"listen on 127.0.0.1 port {instance.lmtp_port} lmtp\n")
    instance.start()
    try:
        instance.add_domain("example.test")
        instance.add_user("alice@example.test")
        instance.add_user("bob@example.test")
        instance.add_alias("team@example.test", "alice@example.test", "bob@example.test")
        yield instance
    finally:
        instance.destroy()


def test_there_are_dialogues():
    assert len(DIALOGUES) > 10


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogue(suite, path):
    text = path.read_text()
    assert text.startswith("# RFC "), "the first line names the section"
    port = suite.lmtp_port if path.name.startswith("rfc2033") else suite.port
    with Wire(("127.0.0.1", port)) as wire:
        play(wire, text)
    suite.check()
