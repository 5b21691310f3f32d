// The ioctls of /dev/liveupdate and of session files, as programs for Linux 7.3 are compiled against them.
//
// Source: Linux 7.3, include/uapi/linux/liveupdate.h. The commands carry no direction and no size.
//
// Every structure starts with its own size, so that it can grow: see uapi/extensible.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace causeway::uapi::abi {

inline constexpr uint32_t kLiveUpdateType = 0xBA;
constexpr uint32_t liveupdate_command(uint32_t number) { return kLiveUpdateType << 8 | number; }
// _IOC_NR(): the low byte of a command.
constexpr uint32_t command_number(uint32_t command) { return command & 0xff; }

// On the device.
inline constexpr uint32_t kCreateSession = liveupdate_command(0x00);
inline constexpr uint32_t kRetrieveSession = liveupdate_command(0x01);
// On a session.
inline constexpr uint32_t kSessionPreserveFd = liveupdate_command(0x40);  // outgoing
inline constexpr uint32_t kSessionRetrieveFd = liveupdate_command(0x41);  // incoming
inline constexpr uint32_t kSessionFinish = liveupdate_command(0x42);      // incoming
inline constexpr uint32_t kSessionGetName = liveupdate_command(0x43);

inline constexpr unsigned kSessionNameLength = 64;  // the NUL included

// CREATE_SESSION, RETRIEVE_SESSION
struct SessionRequest {
  uint32_t size;
  int32_t fd;  // out
  char name[kSessionNameLength];
};
static_assert(sizeof(SessionRequest) == 72 && offsetof(SessionRequest, fd) == 4 && offsetof(SessionRequest, name) == 8);

// PRESERVE_FD, RETRIEVE_FD
struct FdRequest {
  uint32_t size;
  int32_t fd;      // in for PRESERVE_FD, out for RETRIEVE_FD
  uint64_t token;  // any value, unique in the session
};
static_assert(sizeof(FdRequest) == 16 && offsetof(FdRequest, token) == 8);

struct FinishRequest {
  uint32_t size;
  uint32_t reserved;  // 0
};
static_assert(sizeof(FinishRequest) == 8);

struct NameRequest {
  uint32_t size;
  uint32_t reserved;              // 0
  char name[kSessionNameLength];  // out
};
static_assert(sizeof(NameRequest) == 72 && offsetof(NameRequest, name) == 8);

}  // namespace causeway::uapi::abi
