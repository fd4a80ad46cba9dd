/*
 * How long the relay waits for what, in milliseconds: RFC 5321 4.5.3.2 gives least values, and no
 * more than those are waited for. Tests have shorter ones.
 */
#ifndef DELIVER_RELAY_TIMES_H
#define DELIVER_RELAY_TIMES_H

struct relay_times {
	unsigned connect_ms;
	unsigned handshake_ms;
	unsigned greeting_ms; /* RFC 5321 4.5.3.2.1 */
	unsigned command_ms;  /* of those that the RFC doesn't name: EHLO, STARTTLS, AUTH, RSET */
	unsigned mail_ms;     /* RFC 5321 4.5.3.2.2 */
	unsigned rcpt_ms;     /* RFC 5321 4.5.3.2.3 */
	unsigned data_ms;     /* RFC 5321 4.5.3.2.4 */
	unsigned block_ms;    /* RFC 5321 4.5.3.2.5: while text is sent, without progress */
	unsigned transaction_ms; /* from MAIL until the text is sent, however slow the host is */
	unsigned end_ms;         /* RFC 5321 4.5.3.2.6: for the reply to the end of the text */
	unsigned quit_ms;        /* all has been said by then */
	unsigned idle_ms;        /* a connection is kept without work */
	unsigned addresses_ms;   /* addresses are good for that long at least */
	unsigned tick_ms;        /* how often it is looked whether a time has passed */
};

#define RELAY_TIMES_DEFAULT                                                                     \
	{                                                                                       \
		.connect_ms = 30000, .handshake_ms = 60000, .greeting_ms = 5 * 60000,           \
		.command_ms = 5 * 60000, .mail_ms = 5 * 60000, .rcpt_ms = 5 * 60000,            \
		.data_ms = 2 * 60000, .block_ms = 3 * 60000, .transaction_ms = 2 * 3600 * 1000, \
		.end_ms = 10 * 60000, .quit_ms = 5000, .idle_ms = 5000, .addresses_ms = 5000,   \
		.tick_ms = 1000                                                                 \
	}

#endif
