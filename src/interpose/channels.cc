#include "interpose/channels.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>

#include "client/raw.h"
#include "dept/class_choice.h"
#include "dept/hash.h"
#include "interpose/bootstrap.h"

namespace causeway::interpose::channels {

using namespace causeway::dept;

namespace {

constexpr unsigned kChannels = 1 << 13;

// The addresses of the two bytes of a direction are those of its objects: data to come, and room for more.
struct Direction {
  uint8_t data, room;
};
struct Channel {
  std::atomic<uint32_t> descriptors;  // of the first end, or both, and << 16 of the second; 0: free
  std::atomic<uint32_t> site_line;
  std::atomic<uint64_t> site;
  std::atomic<const char*> name;
  Direction direction[2];             // to the first end, to the second
};

// What a descriptor is: channel * 4 + End, or 0.
enum End : uint32_t { kFirst, kSecond, kBoth };  // an eventfd is both ends of its first direction
constinit std::atomic<uint32_t> table[kDescriptors];
constinit Channel channels[kChannels];
constinit std::atomic<uint32_t> next_channel{1};

constexpr uint32_t kOneFirst = 1, kOneSecond = 1u << 16;
uint32_t one_of(uint32_t value) { return value % 4 == kSecond ? kOneSecond : kOneFirst; }

std::atomic<uint32_t>* entry_of(int fd) { return fd >= 0 && fd < kDescriptors ? &table[fd] : nullptr; }

uint32_t take_channel(uint32_t descriptors, const char* name, Site site) {
  for (unsigned tries = 0; tries < kChannels; ++tries) {
    const uint32_t index = next_channel.fetch_add(1, std::memory_order_relaxed) % kChannels;
    uint32_t free = 0;
    if (index == 0 || !channels[index].descriptors.compare_exchange_strong(free, descriptors, std::memory_order_acq_rel)) continue;
    channels[index].site.store(site.where, std::memory_order_relaxed);
    channels[index].site_line.store(site.line, std::memory_order_relaxed);
    channels[index].name.store(name, std::memory_order_relaxed);
    return index;
  }
  return 0;
}

void release_channel(uint32_t value) {
  Channel& channel = channels[value / 4];
  if (channel.descriptors.load(std::memory_order_acquire) == one_of(value)) {
    // The last one, so nobody else can name it.
    for (Direction& direction : channel.direction) {
      Tracker::get().object_died(&direction.data);
      Tracker::get().object_died(&direction.room);
    }
  }
  channel.descriptors.fetch_sub(one_of(value), std::memory_order_acq_rel);
}

void set(int fd, uint32_t value) {
  std::atomic<uint32_t>* entry = entry_of(fd);
  if (entry == nullptr) {
    if (value != 0) release_channel(value);
    return;
  }
  const uint32_t old = entry->exchange(value, std::memory_order_acq_rel);
  if (old != 0) release_channel(old);
}

void made(int first, int second, const char* name, Site site) {
  if (!is_own_process()) return;
  const KeepErrno errno_is_kept;
  const uint32_t channel = take_channel(second < 0 ? kOneFirst : kOneFirst + kOneSecond, name, site);
  const uint32_t base = channel * 4;
  set(first, channel == 0 ? 0 : base + (second < 0 ? kBoth : kFirst));
  if (second >= 0) set(second, channel == 0 ? 0 : base + kSecond);
}

uint32_t value_of(int fd) {
  const std::atomic<uint32_t>* entry = entry_of(fd);
  return entry == nullptr ? 0 : entry->load(std::memory_order_relaxed);
}

ObjectId object_at(const uint8_t* address, uint32_t value) {
  const Channel& channel = channels[value / 4];
  const Site site{channel.site.load(std::memory_order_relaxed), channel.site_line.load(std::memory_order_relaxed)};
  // By where it was made, and which of its four events this is (spec 4.2).
  const auto which = static_cast<uint64_t>(address - &channel.direction[0].data);
  return Tracker::get().object_at(
      address, {.kind = Kind::kFile, .key = mix(class_choice::key_of_site(site), which), .name = channel.name.load(std::memory_order_relaxed)},
      site);
}

Direction& towards(uint32_t value, End end) { return channels[value / 4].direction[end == kSecond ? 1 : 0]; }
End own_end(uint32_t value) { return static_cast<End>(value % 4); }
End other_end(uint32_t value) { return own_end(value) == kFirst ? kSecond : kFirst; }

bool has(int fd, short events) {
  pollfd one{fd, events, 0};
  const timespec now{0, 0};
  return client::raw(SYS_ppoll, &one, 1, &now, nullptr, 8) != 0;
}

Readiness ready(int fd, short events) {
  if ((client::raw(SYS_fcntl, fd, F_GETFL, 0) & O_NONBLOCK) != 0) return Readiness::kNeverBlocks;
  return has(fd, events) ? Readiness::kReady : Readiness::kWouldBlock;
}

}  // namespace

void made_eventfd(int fd, Site site) { made(fd, -1, "eventfd", site); }
// Bytes flow to the reader, which is the first end.
void made_pipe(int reader, int writer, Site site) { made(reader, writer, "pipe", site); }
void made_pair(int first, int second, Site site) { made(first, second, "socket pair", site); }

// The child of a vfork has descriptors of its own, and this memory.
void duplicated(int from, int to) {
  const uint32_t value = value_of(from);
  if (from == to || (value == 0 && value_of(to) == 0) || !is_own_process()) return;
  const KeepErrno errno_is_kept;
  if (value != 0) channels[value / 4].descriptors.fetch_add(one_of(value), std::memory_order_acq_rel);
  set(to, value);
}

void closing(int fd) {
  if (value_of(fd) == 0 || !is_own_process()) return;
  const KeepErrno errno_is_kept;
  set(fd, 0);
}

bool is_known(int fd) { return value_of(fd) != 0; }
Part part_of(int fd) { return static_cast<Part>(value_of(fd)); }

bool is_last(int fd) {
  const uint32_t value = value_of(fd), count = channels[value / 4].descriptors.load(std::memory_order_relaxed);
  return (one_of(value) == kOneFirst ? count % kOneSecond : count / kOneSecond) == 1;
}

ObjectId incoming(int fd) { return incoming(part_of(fd)); }

ObjectId incoming(Part part) {
  const auto value = static_cast<uint32_t>(part);
  return value == 0 ? ObjectId::kNone : object_at(&towards(value, own_end(value)).data, value);
}

ObjectId outgoing(int fd) {
  const uint32_t value = value_of(fd);
  if (value == 0) return ObjectId::kNone;
  return object_at(&towards(value, own_end(value) == kBoth ? kBoth : other_end(value)).data, value);
}

ObjectId room(int fd) {
  const uint32_t value = value_of(fd);
  if (value == 0 || own_end(value) == kBoth) return ObjectId::kNone;
  return object_at(&towards(value, other_end(value)).room, value);
}

ObjectId made_room(int fd) {
  const uint32_t value = value_of(fd);
  if (value == 0 || own_end(value) == kBoth) return ObjectId::kNone;
  return object_at(&towards(value, own_end(value)).room, value);
}

Readiness to_read(int fd) { return ready(fd, POLLIN); }
bool is_readable(int fd) { return has(fd, POLLIN); }
Readiness to_write(int fd, size_t size) {
  const Readiness readiness = ready(fd, POLLOUT);
  if (readiness != Readiness::kReady || size <= PIPE_BUF) return readiness;
  const long holds = client::raw(SYS_fcntl, fd, F_GETPIPE_SZ, 0);
  int waiting = 0;
  if (holds <= 0 || client::raw(SYS_ioctl, fd, FIONREAD, &waiting) != 0) return readiness;
  return size > static_cast<size_t>(holds) - static_cast<size_t>(waiting) ? Readiness::kWouldBlock : readiness;
}

}  // namespace causeway::interpose::channels
