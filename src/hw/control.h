// The machine's control socket: SOCK_SEQPACKET, one request, one reply, both of fixed size.
//
// This is not a bus: it stands for what a board offers besides one (its memory controller, its power
// switch). In one process it is a socketpair, between processes an abstract socket; the messages are the
// same.
//
//   kAttach     reply carries the bus descriptor (SCM_RIGHTS); the machine counts a new generation
//   kGetFd      fd_id -> the descriptor behind a region
//   kHotAdd     carries a descriptor; size in `value` -> physical base, region index
//   kRemove     region index; waits until no DMA is inside it
//   kStatus     text about machine and devices, as `name=value` lines: `value` = offset to read from,
//               0 makes a new text; the reply's `value` = its whole length
//   kInject     arms a fault: `value` = Fault, `argument` = nth transfer from now, from 1; 0 disarms
//   kPowerOff   ends the machine
//   kObserve    reply carries the bus descriptor, for reading alone; no generation is counted
#pragma once

#include <cstdint>

namespace causeway::hw::control {

inline constexpr uint32_t kProtocolVersion = 1;

enum class Op : uint32_t { kAttach = 1, kGetFd, kHotAdd, kRemove, kStatus, kInject, kPowerOff, kObserve };

enum class Fault : uint32_t {
  kCorruptByte = 1,  // flips a byte of a stream record after its checksum was made
  kRefuse = 2,       // refuses a transfer as if its address were wrong
  // Of NVMe controllers; the nth is counted over all of them.
  kNvmeCorruptData = 3,       // flips a byte of the data of the nth read, which then succeeds
  kNvmeLoseCompletion = 4,    // the nth I/O command is executed and never completed
  kNvmeRepeatCompletion = 5,  // the nth I/O command is completed twice
  kNvmeRefuseData = 6,        // the nth I/O command with data fails as if its address were wrong
  // Of IOMMUs; counted over all of them.
  kIommuSkipInvalidation = 7,  // the nth IOTLB invalidation of a queue is acknowledged, and not done
};
inline constexpr unsigned kFaults = 8;  // one more than the last

struct Request {
  uint32_t version;  // kProtocolVersion
  Op op;
  uint64_t value;
  uint64_t argument;
};
static_assert(sizeof(Request) == 24);

inline constexpr unsigned kReplyText = 2048;
struct Reply {
  int32_t error;          // 0 or a positive errno
  uint32_t index;         // region index, generation
  uint64_t value;         // physical base, ...
  char text[kReplyText];  // NUL-terminated: the reason of an error, or the status
};

}  // namespace causeway::hw::control
