"""Input that doesn't wait for the reply it must wait for: to DATA, to EHLO."""

import os
import signal

from postern import wait_for


def server_has_read(port):
    """The server's socket, whose peer is `port` here, holds nothing that it hasn't read."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        for row in table.readlines()[1:]:
            _, _, remote, state, queues = row.split()[:5]
            if state == "01" and int(remote.split(":")[1], 16) == port:
                return int(queues.split(":")[1], 16) == 0
    return False


def test_text_before_the_354_in_a_packet_of_its_own_ends_the_session(postern):
    """RFC 5321 4.1.1.4: the text follows the 354. The directory stands still, so that DATA waits
    behind RCPT, and the text behind it in the socket."""
    (directory,) = postern.pids("directory")
    with postern.wire() as client:
        client.expect(220)
        client.send(b"EHLO client.test\r\n")
        client.expect(250)
        os.kill(directory, signal.SIGSTOP)
        try:
            client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
            wait_for(lambda: server_has_read(client.socket.getsockname()[1]))
            client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        finally:
            os.kill(directory, signal.SIGCONT)
        client.expect(250)
        client.expect(250)
        client.expect(554)
    assert not postern.log_lines(event="message-accepted")


def test_commands_behind_ehlo_in_a_packet_of_their_own_end_the_session(postern):
    """RFC 2920 3.1: EHLO is the last of its group. It waits behind RCPT, and the next command in the
    socket."""
    (directory,) = postern.pids("directory")
    with postern.wire() as client:
        client.hello()
        os.kill(directory, signal.SIGSTOP)
        try:
            client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<alice@example.test>\r\n"
                b"EHLO client.test\r\n")
            wait_for(lambda: server_has_read(client.socket.getsockname()[1]))
            client.send(b"MAIL FROM:<b@client.test>\r\n")
        finally:
            os.kill(directory, signal.SIGCONT)
        client.expect(250)
        client.expect(250)
        client.expect(554)
        assert client.is_closed()
    postern.wait_log("smtp-disconnected", reason="talked ahead")
