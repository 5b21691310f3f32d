// The wire between a client program and the kernel process. libc only: the shim, which lives in strangers'
// processes, includes it too.
//
// A client *thread* has a channel: a SOCK_SEQPACKET connection to the kernel's client socket and one page of shared
// memory. A call is a conversation in that page: the two sides take turns, as in a coroutine.
//
//   client                              kernel
//   kIoctl(cookie, command, argument) ->            with the first bytes at `argument`, the window
//                                     <- kCopyIn    more of the client's memory, please
//   kAnswer(0, bytes)                 ->
//                                     <- kGiveFd    a descriptor comes on the socket, install it
//   kAnswer(7)                        ->
//                                     <- kDone(0)   the call's result, and what to write into the window
//
// So an ioctl means nothing to the client, and addresses mean nothing to the kernel. Passing the turn is a store to
// `turn`; a side that waits spins for a while, then announces that it sleeps and reads from the socket, where
// the other one sends a byte if it sees the announcement. Descriptors travel on the socket beside the page.
//
// An open *file* is another SOCK_SEQPACKET pair: the client has one end as its descriptor, so dup, fork, exec and
// SCM_RIGHTS are the host's own, and the kernel sees the last close as a hang-up. SO_COOKIE of that end names the
// file in calls; it is the socket's for life, whatever its descriptor numbers are. Its peer has an abstract
// address under `client_prefix`, which is how a program that was just started tells the descriptors it inherited.
//
// Neither side trusts the other: lengths are checked, and the page is read once.
#pragma once

#include <string.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace causeway::wire {

inline constexpr uint32_t kMagic = 0x4c435743;  // "CWCL"
inline constexpr uint32_t kVersion = 2;

// Environment of a client program.
inline constexpr char kSocketVariable[] = "CAUSEWAY_SOCKET";  // abstract name of the kernel's client socket
inline constexpr char kPathsVariable[] = "CAUSEWAY_PATHS";    // served paths, separated by colons

// First message on a new connection, and the answer, which carries the page's descriptor.
struct Hello {
  uint32_t magic = kMagic;
  uint32_t version = kVersion;
};
struct Welcome {
  uint32_t magic = kMagic;
  int32_t error = 0;  // positive errno
};

// The byte in a message on the socket afterwards.
enum class Signal : uint8_t {
  kWake = 'W',        // look at `turn`
  kDescriptor = 'D',  // with a descriptor
};

enum class Op : uint32_t {
  kNone = 0,
  // client: a call. Its result comes with kDone.
  kOpen = 1,   // flags = open(2) flags, payload = path; result: a descriptor number
  kIoctl = 2,  // cookie, command, address = argument, payload = window (bytes found at `address`)
  kStat = 3,   // payload = path; kDone carries a StatResult
  kFrozenFilter = 4,  // result: a descriptor of the filter of frozen files (file/frozen_filter.h), the caller's own
  kIsFrozen = 5,      // cookie = device, address = inode; result: 1 if the size of this file may not change, else 0
  // client: what the kernel asked for
  kAnswer = 16,  // result: negative errno, or what the question asks
  // kernel: asks the client, in the middle of a call
  kCopyIn = 32,   // length bytes at `address` -> payload
  kCopyOut = 33,  // payload -> `address`
  kTakeFd = 34,   // command = descriptor number; the client sends it on the socket
  kGiveFd = 35,   // the client receives one from the socket; result: its number
  kCloseFd = 36,  // command = descriptor number
  // kernel: the call is over
  kDone = 48,  // result; payload: to be written to the window at offset `address`
};

inline constexpr uint32_t kWindowWritable = 1;  // flags of kIoctl: the window can be written to without fault

inline constexpr size_t kPayload = 3968;
inline constexpr size_t kWindow = 256;  // bytes of the window at most

struct Message {
  Op op;
  uint32_t flags;
  int64_t result;
  uint64_t cookie;
  uint64_t address;
  uint32_t command;
  uint32_t length;  // of payload, or asked for
  std::byte payload[kPayload];
};
inline constexpr size_t kHeader = offsetof(Message, payload);

// Makes a message with `length` bytes of payload still to come. Of the payload only that much is ever looked at or
// copied, so the rest of it is not even cleared.
inline void begin(Message* message, Op op, size_t length) {
  memset(message, 0, kHeader);
  message->op = op;
  message->length = static_cast<uint32_t>(length);
}

enum class Turn : uint32_t { kClient = 0, kKernel = 1, kClosed = 2 };

struct alignas(64) Page {
  std::atomic<Turn> turn;
  std::atomic<uint32_t> client_sleeps;
  std::atomic<uint32_t> kernel_sleeps;
  alignas(64) Message message;
};
inline constexpr size_t kPageBytes = 4096;  // of the shared memory that holds it
static_assert(sizeof(Page) <= kPageBytes && std::atomic<Turn>::is_always_lock_free);

// What stat(2) shows of a served path.
struct StatResult {
  uint32_t mode;    // S_IFCHR | 0600, ...
  uint32_t major;
  uint32_t minor;
  uint32_t unused;
};

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How long to spin for the other side before sleeping, in turns of cpu_relax(): twice as long each time it helps, as a wake-up
// across CPUs costs more than the longest spin; half as long each time it does not (the other side is idle, or waits for
// this very CPU).
class SpinBudget {
 public:
  // Whether `ready()` came true while spinning.
  template <typename Ready>
  bool spin(Ready ready) {
    for (uint32_t left = turns_; left != 0; --left) {
      if (ready()) {
        turns_ = turns_ < kMax / 2 ? turns_ * 2 : kMax;
        return true;
      }
      cpu_relax();
    }
    turns_ = turns_ > kMin * 2 ? turns_ / 2 : kMin;
    return false;
  }

 private:
  static constexpr uint32_t kMin = 64;
  static constexpr uint32_t kMax = 4096;
  uint32_t turns_ = 1024;
};

}  // namespace causeway::wire
