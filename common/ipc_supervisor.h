/*
 * The channel between the supervisor (smtpd) and each of its children. The supervisor is the
 * more privileged side: what children send is treated as hostile.
 *
 *	supervisor -> child            child -> supervisor
 *	CONFIG (memfd)                 CONFIGURED, at the start and after a reload
 *	STATS (memfd)
 *	PEER (socket)                  one for each other process this child talks to; sent again
 *	                               when that process was restarted: replaces the old channel
 *	LISTEN (socket)                to listeners, one for each listener_config (by index); to
 *	                               control, its listening Unix socket (index 0) and those
 *	                               for metrics (their index and 1)
 *	START                          READY: takes work from now on
 *	                               REJECTED: a less trusted process that it talks to broke
 *	                               their channel's rules
 *	LOG (optional socket)          LOG_LOST: the syslog socket is dead, send another
 *	PAUSE, RESUME                  (listeners) stop and start accepting
 *	STOP                           finish what is in hand, then exit 0
 *
 *	                               (listeners) CERTIFICATE, AUTHORITIES, TICKET_KEYS,
 *	                               (listeners, queue) DKIM_KEYS (memfd)
 *
 *	supervisor -> keeper           keeper -> supervisor
 *	KEY (memfd)                    KEY_TAKEN with the key's id, or words why not
 *	GENERATE                       GENERATED with a memfd: a new private key, PEM
 *	FORGET
 *
 *	queue -> supervisor            supervisor -> queue
 *	MDA_START                      MDA_STARTED with a socket, or without one and a reason
 *
 *	relay -> supervisor            supervisor -> relay
 *	CONNECT                        CONNECTED with a socket, or without one and a reason
 *
 *	control -> supervisor          supervisor -> control
 *	CONTROL (one of the verbs)     CONTROL_DONE with success and words
 *	DKIM                           CONTROL_LINE for each key to show, then CONTROL_DONE
 *
 *	directory -> supervisor        supervisor -> mailaccess
 *	LOGIN                          MAILBOX (socket), or without one: not now
 *
 *	directory -> supervisor        supervisor -> control
 *	SCRIPTS                        SESSION (socket), or without one: not now
 *
 *	supervisor -> mailbox          mailbox -> supervisor
 *	OPEN: the Maildir, once
 *	SESSION (socket)               ENDED, for each SESSION
 *
 * A mailbox process serves one Maildir, as its owner. After a good login the directory says which
 * one, and the supervisor connects that process, which is started when there is none, with the
 * session of mailaccess (common/ipc_mailbox.h). So mailaccess opens nothing without a password. SCRIPTS,
 * which an administrator has asked for, goes the same way to control; `session` is its request's id.
 *
 * REJECTED comes from queue about listener, control and relay, from directory about listener,
 * mailaccess, control, queue and relay, from resolver and keeper about listener and relay, from
 * keeper about queue and mailaccess. The process named is killed, so that what comes in its place is connected to all again; it would live on with nobody
 * to ask. No other pair is believed.
 *
 * An mda gets CONFIG and no PEER: its second channel (-q FD on its command line) is the queue's.
 * Answers carry their request's id.
 *
 * Before each CONFIG the resolver gets HOSTS and NAMESERVERS with /etc/hosts and /etc/resolv.conf,
 * open for reading: it can't see them from its chroot. One that can't be opened is not sent. ANCHORS
 * brings the CONFIG's trust anchors for DNSSEC, or comes without a descriptor.
 *
 * CERTIFICATE and AUTHORITIES name a pki or ca of the last CONFIG by its place there, and bring its
 * file as it is (PEM). They come between CONFIG and START, and whenever the file has changed: a
 * certificate only after keeper has taken its key. Handshakes that have begun go on with what they
 * began with. TICKET_KEYS come before the first START, and then twice a day.
 *
 * DKIM_KEYS come like certificates: the keys that sign now (struct ipc_dkim_key, one behind the
 * other), which the keeper has. They take the place of those that came before.
 *
 * At the start, listeners and control get START when all others are READY. Reload: the supervisor
 * sends CONFIG again, then for listeners and control LISTEN for every listener_config of theirs
 * (sockets whose address stays are the same sockets), then START. A listener stops accepting on
 * sockets that weren't named again; its sessions go on, with the config they began with or the new
 * one. Each CONFIG is answered by CONFIGURED, a listener's each START by READY: then the reload is
 * done.
 */
#ifndef COMMON_IPC_SUPERVISOR_H
#define COMMON_IPC_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_keeper.h"

enum ipc_supervisor_type {
	SUPERVISOR_CHILD_CONFIG = 1,
	SUPERVISOR_CHILD_STATS,
	SUPERVISOR_CHILD_PEER,
	SUPERVISOR_CHILD_LISTEN,
	SUPERVISOR_CHILD_START,
	SUPERVISOR_CHILD_LOG,
	SUPERVISOR_CHILD_PAUSE,
	SUPERVISOR_CHILD_RESUME,
	SUPERVISOR_CHILD_STOP,
	CHILD_SUPERVISOR_CONFIGURED,
	CHILD_SUPERVISOR_READY,
	CHILD_SUPERVISOR_LOG_LOST,
	QUEUE_SUPERVISOR_MDA_START,
	SUPERVISOR_QUEUE_MDA_STARTED,
	CONTROL_SUPERVISOR_REQUEST,
	SUPERVISOR_CONTROL_DONE,
	CHILD_SUPERVISOR_REJECTED,
	SUPERVISOR_RESOLVER_HOSTS,
	SUPERVISOR_RESOLVER_NAMESERVERS,
	SUPERVISOR_CHILD_CERTIFICATE,
	SUPERVISOR_CHILD_AUTHORITIES,
	SUPERVISOR_CHILD_TICKET_KEYS,
	SUPERVISOR_KEEPER_KEY,
	KEEPER_SUPERVISOR_KEY_TAKEN,
	SUPERVISOR_RESOLVER_ANCHORS,
	SUPERVISOR_CHILD_DKIM_KEYS,
	SUPERVISOR_KEEPER_GENERATE,
	KEEPER_SUPERVISOR_GENERATED,
	SUPERVISOR_KEEPER_FORGET,
	CONTROL_SUPERVISOR_DKIM,
	SUPERVISOR_CONTROL_LINE,
	DIRECTORY_SUPERVISOR_LOGIN,
	SUPERVISOR_ACCESS_MAILBOX,
	SUPERVISOR_MAILBOX_OPEN,
	SUPERVISOR_MAILBOX_SESSION,
	MAILBOX_SUPERVISOR_ENDED,
	RELAY_SUPERVISOR_CONNECT,
	SUPERVISOR_RELAY_CONNECTED,
	DIRECTORY_SUPERVISOR_SCRIPTS,
	SUPERVISOR_CONTROL_SESSION,
};

/* The programs, as peers name each other. */
enum program {
	PROGRAM_SUPERVISOR,
	PROGRAM_LISTENER,
	PROGRAM_QUEUE,
	PROGRAM_DIRECTORY,
	PROGRAM_RESOLVER,
	PROGRAM_CONTROL,
	PROGRAM_MDA,
	PROGRAM_KEEPER,
	PROGRAM_RELAY,
	PROGRAM_MAILACCESS,
	PROGRAM_MAILBOX,
	PROGRAM_COUNT,
};
const char *program_name(enum program);

/* SUPERVISOR_CHILD_PEER: descriptor is this child's end of a socket pair to `program`.
 * CHILD_SUPERVISOR_REJECTED: the one that broke the rules, no descriptor. */
struct ipc_peer {
	enum program program;
	uint32_t instance; /* which listener; else 0 */
};
void ipc_peer_encode(struct buf *, const struct ipc_peer *);
bool ipc_peer_decode(struct buf_reader *, struct ipc_peer *);
/* That this peer is of no use any more. */
void ipc_report(struct channel *supervisor, enum program, uint32_t instance);
/* For `closed` of a less trusted peer's channel: REJECTED when it was, nothing otherwise. */
void ipc_report_rejected(
    struct channel *supervisor, const struct channel *closed, enum program, uint32_t instance);

/* SUPERVISOR_CHILD_STATS to control carries the page of that program; to others their own. The
 * payload is a struct ipc_peer. Listeners get one more, of PROGRAM_SUPERVISOR: not counters, but an
 * empty memfd that all of them share, for counting clients together. */

/* SUPERVISOR_CHILD_LISTEN */
struct ipc_listen {
	uint32_t index; /* in config->listeners */
};
void ipc_listen_encode(struct buf *, const struct ipc_listen *);
bool ipc_listen_decode(struct buf_reader *, struct ipc_listen *);

/* SUPERVISOR_CHILD_CERTIFICATE, SUPERVISOR_CHILD_AUTHORITIES: which of the config's. */
#define PKI_FILE_MAX   (1024 * 1024)
#define CA_FILE_MAX    (16 * 1024 * 1024)
#define IPC_DEFAULT_CA UINT32_MAX /* the config's default_ca */
struct ipc_certificate {
	uint32_t index; /* in config->pkis, config->cas */
};
void ipc_certificate_encode(struct buf *, const struct ipc_certificate *);
bool ipc_certificate_decode(struct buf_reader *, struct ipc_certificate *);

/* SUPERVISOR_CHILD_TICKET_KEYS: new tickets are made by the first, and taken by both. */
struct ticket_key {
	uint8_t name[16];
	uint8_t encryption[32];
	uint8_t authentication[32];
};
struct ipc_ticket_keys {
	struct ticket_key current;
	struct ticket_key previous; /* at the start, one that no ticket is made by */
};
void ipc_ticket_keys_encode(struct buf *, const struct ipc_ticket_keys *);
bool ipc_ticket_keys_decode(struct buf_reader *, struct ipc_ticket_keys *);

/* SUPERVISOR_KEEPER_KEY: a file of `key_length` bytes of the private key, PEM, and behind it the
 * certificate that it must belong to (of KEEPER_TLS). Takes the place of the kind's key of that
 * name; signatures by the old one can still be had, until the next. */
#define KEY_NAME_MAX 511
struct ipc_key {
	enum keeper_kind kind;
	char name[KEY_NAME_MAX + 1];
	uint32_t key_length;
	uint32_t certificate_length;
};
void ipc_key_encode(struct buf *, const struct ipc_key *);
bool ipc_key_decode(struct buf_reader *, struct ipc_key *);

/* How a key of KEEPER_DKIM signs (RFC 6376 3.3, RFC 8463 3). */
enum dkim_algorithm {
	DKIM_RSA_SHA256,
	DKIM_ED25519_SHA256,
	DKIM_ALGORITHM_COUNT,
};
/* "rsa", "ed25519", as records in DNS have it. */
const char *dkim_algorithm_name(enum dkim_algorithm);

/* KEEPER_SUPERVISOR_KEY_TAKEN */
#define KEEPER_PUBLIC_MAX 1200 /* RSA of 8192 bits */
struct ipc_key_taken {
	bool success;
	uint8_t key[KEEPER_ID_SIZE];
	/* Of KEEPER_DKIM: the algorithm, the length of its signatures, and what its record in DNS
	 * shows of the key. */
	enum dkim_algorithm algorithm;
	uint16_t signature_length;
	uint16_t public_length;
	uint8_t public[KEEPER_PUBLIC_MAX];
	char words[KEEPER_WORDS_MAX + 1]; /* why not */
};
void ipc_key_taken_encode(struct buf *, const struct ipc_key_taken *);
bool ipc_key_taken_decode(struct buf_reader *, struct ipc_key_taken *);

/* SUPERVISOR_KEEPER_GENERATE: a new key of that algorithm. GENERATED is a struct ipc_done, with a
 * descriptor on success; the key isn't used before it comes back as KEY. */
struct ipc_generate {
	enum dkim_algorithm algorithm;
};
void ipc_generate_encode(struct buf *, const struct ipc_generate *);
bool ipc_generate_decode(struct buf_reader *, struct ipc_generate *);

/* SUPERVISOR_KEEPER_FORGET: the kind's key of that name signs no more. */
struct ipc_forget {
	enum keeper_kind kind;
	char name[KEY_NAME_MAX + 1];
};
void ipc_forget_encode(struct buf *, const struct ipc_forget *);
bool ipc_forget_decode(struct buf_reader *, struct ipc_forget *);

/* SUPERVISOR_CHILD_DKIM_KEYS */
#define DKIM_DOMAIN_MAX    253 /* A-labels, lower case */
#define DKIM_SELECTOR_MAX  63  /* one label */
#define DKIM_KEYS_MAX      1000
#define IPC_DKIM_KEYS_SIZE (DKIM_KEYS_MAX * 360) /* of the memfd, at most */
struct ipc_dkim_key {
	char domain[DKIM_DOMAIN_MAX + 1];
	char selector[DKIM_SELECTOR_MAX + 1];
	enum dkim_algorithm algorithm;
	uint16_t signature_length;
	uint8_t key[KEEPER_ID_SIZE];
};
void ipc_dkim_key_encode(struct buf *, const struct ipc_dkim_key *);
/* The next one of several. */
bool ipc_dkim_key_decode(struct buf_reader *, struct ipc_dkim_key *);
/* What may stand in a name in DNS and in a file's name: letters in lower case, digits, hyphens, and
 * dots between labels. */
bool dkim_domain_is_valid(const char *);
bool dkim_selector_is_valid(const char *);

/* SUPERVISOR_CHILD_START */
struct ipc_start {
	uint32_t listeners; /* how many listener processes there are */
};
void ipc_start_encode(struct buf *, const struct ipc_start *);
bool ipc_start_decode(struct buf_reader *, struct ipc_start *);

/* SUPERVISOR_CHILD_LOG; with a descriptor it replaces the log's. */
struct ipc_log {
	bool verbose;
	uint32_t trace; /* LOG_TRACE_* */
};
void ipc_log_encode(struct buf *, const struct ipc_log *);
bool ipc_log_decode(struct buf_reader *, struct ipc_log *);

/* QUEUE_SUPERVISOR_MDA_START. The supervisor refuses uid 0, gid 0 and the suite's own accounts. */
struct ipc_mda_start {
	uint32_t uid;
	uint32_t gid;
	bool mail_group; /* also a member of "mail": for mbox files alone, it runs no commands */
};
void ipc_mda_start_encode(struct buf *, const struct ipc_mda_start *);
bool ipc_mda_start_decode(struct buf_reader *, struct ipc_mda_start *);

/* RELAY_SUPERVISOR_CONNECT: to the Unix socket of an action by LMTP. The relay sees no file; any path
 * that isn't such an action's in the running configuration is refused. */
struct ipc_connect {
	char path[SOCKET_PATH_MAX + 1];
};
void ipc_connect_encode(struct buf *, const struct ipc_connect *);
bool ipc_connect_decode(struct buf_reader *, struct ipc_connect *);

/* SUPERVISOR_QUEUE_MDA_STARTED, SUPERVISOR_RELAY_CONNECTED (words only without a descriptor),
 * SUPERVISOR_CONTROL_DONE */
#define IPC_WORDS_MAX 512
struct ipc_done {
	bool success;
	char words[IPC_WORDS_MAX + 1];
};
void ipc_done_encode(struct buf *, const struct ipc_done *);
bool ipc_done_decode(struct buf_reader *, struct ipc_done *);

/* CONTROL_SUPERVISOR_REQUEST */
enum control_verb {
	CONTROL_RELOAD,
	CONTROL_STOP,
	CONTROL_LOG_BRIEF,
	CONTROL_LOG_VERBOSE,
	CONTROL_TRACE, /* argument: mask to add */
	CONTROL_UNTRACE,
	CONTROL_PAUSE_SMTP,
	CONTROL_RESUME_SMTP,
	CONTROL_SMTP_STATUS, /* done.words: "running" or "paused" (smtp) */
	CONTROL_VERB_COUNT,
};
struct ipc_control {
	enum control_verb verb;
	uint32_t argument;
	uint32_t caller_uid; /* for the log */
};
void ipc_control_encode(struct buf *, const struct ipc_control *);
bool ipc_control_decode(struct buf_reader *, struct ipc_control *);

/* CONTROL_SUPERVISOR_DKIM. A LINE is a text (u16 length) of five fields separated by tabs: domain,
 * selector, algorithm, state, and the value of the record in DNS. */
enum dkim_verb {
	DKIM_ADD,      /* domain; selector and algorithm, or not */
	DKIM_DELETE,   /* domain, selector */
	DKIM_ROTATE,   /* domain */
	DKIM_ACTIVATE, /* domain, selector */
	DKIM_LIST,     /* domain or not */
	DKIM_SHOW,     /* the same, selector or not */
	DKIM_VERB_COUNT,
};
struct ipc_dkim {
	enum dkim_verb verb;
	uint32_t caller_uid;
	char domain[DKIM_DOMAIN_MAX + 1];
	char selector[DKIM_SELECTOR_MAX + 1];
	bool has_algorithm;
	enum dkim_algorithm algorithm;
};
void ipc_dkim_encode(struct buf *, const struct ipc_dkim *);
bool ipc_dkim_decode(struct buf_reader *, struct ipc_dkim *);

#endif
