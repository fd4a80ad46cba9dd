"""Text that doesn't wait for the 354."""

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
