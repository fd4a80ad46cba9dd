/* CRC-32C (Castagnoli; RFC 3720 appendix B.4): what journal records and message bytes are checked
 * with. */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` is the checksum of, followed by `data`; starts at 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t length);
/* The same without the processor's instruction: what other machines use, and the tests compare. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t length);

#endif
