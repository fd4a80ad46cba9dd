/* SANITIZED is defined where AddressSanitizer is built in, whose own calls no confinement knows. */
#ifndef COMMON_SANITIZER_H
#define COMMON_SANITIZER_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(SANITIZED)
#define SANITIZED
#endif

#endif
