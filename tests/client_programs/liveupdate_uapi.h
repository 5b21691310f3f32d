/* The uAPI of /dev/liveupdate, as programs for Linux 7.3 have it: written down once more, and not from our own headers. */
#ifndef LIVEUPDATE_UAPI_H
#define LIVEUPDATE_UAPI_H

#include <stdint.h>
#include <sys/ioctl.h>

struct session_request { uint32_t size; int32_t fd; char name[64]; };
struct fd_request { uint32_t size; int32_t fd; uint64_t token __attribute__((aligned(8))); };
struct finish_request { uint32_t size; uint32_t reserved; };
struct name_request { uint32_t size; uint32_t reserved; char name[64]; };

#define CREATE_SESSION _IO(0xBA, 0x00)
#define RETRIEVE_SESSION _IO(0xBA, 0x01)
#define PRESERVE_FD _IO(0xBA, 0x40)
#define RETRIEVE_FD _IO(0xBA, 0x41)
#define FINISH _IO(0xBA, 0x42)
#define GET_NAME _IO(0xBA, 0x43)

#endif
