/*
 * The parts of the parser of IMAP commands: each takes what follows the command's name. Errors are in
 * the text's `why`.
 */
#ifndef MAILBOX_IMAP_COMMAND_PARTS_H
#define MAILBOX_IMAP_COMMAND_PARTS_H

#include "mailbox/imap_command.h"

/* One element more in an array of the command's; NULL, with `why` set, when there is no memory or there
 * are `max`. */
void *imap_parse_add(
    struct imap_text *, void *array, size_t *count, size_t element_size, size_t max);
void imap_parse_strings_add(struct imap_text *, struct imap_strings *, struct imap_string);

void imap_parse_select(struct imap_text *, struct imap_command *);
void imap_parse_create(struct imap_text *, struct imap_command *);
void imap_parse_list(struct imap_text *, struct imap_command *);
void imap_parse_lsub(struct imap_text *, struct imap_command *);
void imap_parse_status(struct imap_text *, struct imap_command *);
void imap_parse_append(struct imap_text *, struct imap_command *);
void imap_parse_search(struct imap_text *, struct imap_command *);
void imap_parse_fetch(struct imap_text *, struct imap_command *);
/* One item or a list of them in parentheses. */
void imap_parse_items(struct imap_text *, struct imap_items *);
void imap_parse_metadata(struct imap_text *, struct imap_command *);
void imap_parse_notify(struct imap_text *, struct imap_command *);

#endif
