/*
 * smtpctl is setgid to the control socket's group so that anybody may ask; who may be answered is
 * decided by the socket's other end. That group is used for connect(), for making files in the
 * offline directory (offline_store.c), and for nothing else.
 */
#ifndef SMTPCTL_PRIVILEGE_H
#define SMTPCTL_PRIVILEGE_H

#include <sys/types.h>

/* Before anything else: standard descriptors that are open, no environment, no other descriptors,
 * default signals, and the caller's own group. Ends the process when that cannot be had. */
void privilege_start(void);
/* The group is back until privilege_lower() or privilege_drop(). */
void privilege_raise(void);
/* It is put aside again. */
void privilege_lower(void);
/* Which it is; the caller's own when the program isn't setgid. */
gid_t privilege_group(void);
/* The group is gone for good. */
void privilege_drop(void);
/* After that: root is nobody from here on, who can open and signal nothing; others stay who they are. */
void privilege_become_nobody(void);

#endif
