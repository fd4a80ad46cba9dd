/*
 * CRC-32C by the processor's instruction where it has one (SSE 4.2), otherwise eight bytes at a
 * time from tables that are made at the first use. Both take the reflected polynomial 0x82f63b78
 * and invert before and after, so that checksums can be continued over several pieces.
 */
#include <stdbool.h>
#include <string.h>

#include "common/crc32c.h"

#define POLYNOMIAL 0x82f63b78U

static struct {
	bool made;
	uint32_t of[8][256];
} tables;

static void
make_tables(void)
{
	uint32_t crc;
	unsigned i, k;

	for (i = 0; i < 256; i++) {
		crc = i;
		for (k = 0; k < 8; k++)
			crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
		tables.of[0][i] = crc;
	}
	for (i = 0; i < 256; i++) {
		for (k = 1; k < 8; k++) {
			crc = tables.of[k - 1][i];
			tables.of[k][i] = crc >> 8 ^ tables.of[0][crc & 0xff];
		}
	}
	tables.made = true;
}

uint32_t
crc32c_portable(uint32_t crc, const void *data, size_t length)
{
	const uint8_t *at = data;
	uint32_t low, high;

	if (!tables.made)
		make_tables();
	crc = ~crc;
	for (; length >= 8; length -= 8, at += 8) {
		low = crc ^
		    ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
		        (uint32_t)at[3] << 24);
		high = (uint32_t)at[4] | (uint32_t)at[5] << 8 | (uint32_t)at[6] << 16 |
		    (uint32_t)at[7] << 24;
		crc = tables.of[7][low & 0xff] ^ tables.of[6][low >> 8 & 0xff] ^
		    tables.of[5][low >> 16 & 0xff] ^ tables.of[4][low >> 24] ^
		    tables.of[3][high & 0xff] ^ tables.of[2][high >> 8 & 0xff] ^
		    tables.of[1][high >> 16 & 0xff] ^ tables.of[0][high >> 24];
	}
	for (; length > 0; length--, at++)
		crc = crc >> 8 ^ tables.of[0][(crc ^ *at) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t
crc32c_sse42(uint32_t crc, const void *data, size_t length)
{
	const uint8_t *at = data;
	uint64_t wide = (uint32_t)~crc, word;

	for (; length >= 8; length -= 8, at += 8) {
		memcpy(&word, at, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; length > 0; length--, at++)
		crc = _mm_crc32_u8(crc, *at);
	return ~crc;
}

uint32_t
crc32c(uint32_t crc, const void *data, size_t length)
{
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, data, length);
	return crc32c_portable(crc, data, length);
}
#else
uint32_t
crc32c(uint32_t crc, const void *data, size_t length)
{
	return crc32c_portable(crc, data, length);
}
#endif
