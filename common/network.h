/* Networks, as an address and a number of bits. */
#ifndef COMMON_NETWORK_H
#define COMMON_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the first `bits` bits of both are the same; of the bytes behind those none is read. */
bool network_same_prefix(const uint8_t *, const uint8_t *, unsigned bits);

#endif
