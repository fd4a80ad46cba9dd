/* Hexadecimal digits. */
#ifndef COMMON_HEX_H
#define COMMON_HEX_H

/* 0 to 15, of either case; -1 when it is none. */
int hex_digit(char);

#endif
