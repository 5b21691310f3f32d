#include "dept/order.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

#include "dept/context.h"

namespace causeway::dept {
namespace {

constexpr unsigned kSizeOf[] = {15, 63, 255, 1023};

constexpr uint32_t thread_of(uint64_t entry) { return static_cast<uint32_t>(entry >> 32); }
constexpr uint64_t entry_of(ThreadId thread, uint32_t epoch) { return uint64_t{index_of(thread)} << 32 | epoch; }

// The first word of a block: how many entries it has, and which size it is.
constexpr uint64_t count_of(uint64_t head) { return head & 0xffffffff; }
constexpr unsigned size_of(uint64_t head) { return static_cast<unsigned>(head >> 32); }

}  // namespace

int Order::create() {
  void* memory = ::mmap(nullptr, kWords * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return -ENOMEM;
  memory_ = static_cast<uint64_t*>(memory);
  return 0;
}

void Order::destroy() {
  if (memory_ != nullptr) ::munmap(memory_, kWords * sizeof(uint64_t));
  memory_ = nullptr;
}

uint32_t Order::take_block(unsigned size) {
  EngineLockGuard hold(blocks_);
  uint32_t clock = free_[size];
  if (clock != 0) {
    free_[size] = static_cast<uint32_t>(words(clock)[1]);
  } else {
    if (next_word_ + 1 + kSizeOf[size] > kWords) return 0;
    clock = static_cast<uint32_t>(next_word_);
    next_word_ += 1 + kSizeOf[size];
  }
  words(clock)[0] = uint64_t{size} << 32;
  return clock;
}

void Order::give_block(uint32_t clock) {
  if (clock == 0) return;
  EngineLockGuard hold(blocks_);
  const unsigned size = size_of(words(clock)[0]);
  words(clock)[1] = free_[size];
  free_[size] = clock;
}

bool Order::merge(uint32_t* into, const uint64_t* entries, uint64_t count) {
  if (memory_ == nullptr) return false;
  uint64_t* to = *into == 0 ? nullptr : words(*into);
  const uint64_t had = to == nullptr ? 0 : count_of(to[0]);
  // How many are new, and whether anything changes where both know a thread.
  uint64_t added = 0;
  for (uint64_t i = 0, j = 0; i < count;) {
    if (j == had || thread_of(entries[i]) < thread_of(to[1 + j])) {
      ++added;
      ++i;
    } else if (thread_of(entries[i]) > thread_of(to[1 + j])) {
      ++j;
    } else {
      if (entries[i] > to[1 + j]) to[1 + j] = entries[i];
      ++i;
      ++j;
    }
  }
  if (added == 0) return true;
  uint64_t total = had + added;
  if (total > kMost) {
    // Those with the lowest numbers began first; most of them have ended. Their entries go.
    uint64_t excess = total - kMost;
    if (had != 0) {
      const uint64_t gone = excess < had ? excess : had;
      std::memmove(to + 1, to + 1 + gone, (had - gone) * sizeof(uint64_t));
      to[0] -= gone;
      excess -= gone;
    }
    if (excess != 0 || had == 0) return merge(into, entries + excess, count - excess);
    return merge(into, entries, count);
  }
  unsigned size = 0;
  while (kSizeOf[size] < total) ++size;
  uint32_t clock = *into;
  if (clock == 0 || size_of(to[0]) < size) {
    clock = take_block(size);
    if (clock == 0) return false;
    if (had != 0) std::memcpy(words(clock) + 1, to + 1, had * sizeof(uint64_t));
    give_block(*into);
    *into = clock;
    to = words(clock);
  }
  // From the end, so that nothing is overwritten before it has moved.
  uint64_t out = total;
  uint64_t i = count;
  uint64_t j = had;
  while (out != 0) {
    if (i != 0 && (j == 0 || thread_of(entries[i - 1]) >= thread_of(to[j]))) {
      if (j != 0 && thread_of(entries[i - 1]) == thread_of(to[j])) {
        --i;
        continue;  // known, and newer where it stands
      }
      to[out--] = entries[--i];
    } else {
      to[out--] = to[j--];
    }
  }
  to[0] = uint64_t{size_of(to[0])} << 32 | total;
  return true;
}

void Order::release(ThreadContext& self, ObjectId object) {
  if (object == ObjectId::kNone) return;
  const uint64_t own = entry_of(self.thread, ++self.epoch);
  std::atomic<uint32_t>& clock = arena_.at<Object>(object).clock;
  EngineLockGuard hold(lock_of(object));
  uint32_t mine = clock.load(std::memory_order_relaxed);
  if (self.clock != 0) merge(&mine, words(self.clock) + 1, count_of(words(self.clock)[0]));
  merge(&mine, &own, 1);
  clock.store(mine, std::memory_order_relaxed);
  self.snapshot = ClockId::kNone;
}

void Order::acquire(ThreadContext& self, ObjectId object) {
  if (object == ObjectId::kNone) return;
  std::atomic<uint32_t>& clock = arena_.at<Object>(object).clock;
  if (clock.load(std::memory_order_relaxed) == 0) return;
  EngineLockGuard hold(lock_of(object));
  const uint32_t theirs = clock.load(std::memory_order_relaxed);
  if (theirs == 0) return;
  merge(&self.clock, words(theirs) + 1, count_of(words(theirs)[0]));
  self.clock_changed = ++self.epoch;
  self.snapshot = ClockId::kNone;
}

void Order::after_fork() {
  for (EngineLock& lock : locks_) lock.reset();
  blocks_.reset();
  next_word_ = 1;
  for (uint32_t& free : free_) free = 0;
}

void Order::forget(ObjectId object) {
  EngineLockGuard hold(lock_of(object));
  give_block(arena_.at<Object>(object).clock.exchange(0, std::memory_order_relaxed));
}

void Order::thread_created(ThreadContext& creator, ThreadId created) {
  release(creator, ObjectId(arena_.at<Thread>(created).object.load(std::memory_order_relaxed)));
}

void Order::thread_begins(ThreadContext& self) {
  self.epoch = 1;
  acquire(self, ObjectId(arena_.at<Thread>(self.thread).object.load(std::memory_order_relaxed)));
}

void Order::thread_ends(ThreadContext& self) {
  release(self, ObjectId(arena_.at<Thread>(self.thread).object.load(std::memory_order_relaxed)));
  give_block(self.clock);
  self.clock = 0;
}

void Order::thread_joined(ThreadContext& self, ThreadId ended) {
  acquire(self, ObjectId(arena_.at<Thread>(ended).object.load(std::memory_order_relaxed)));
}

ClockId Order::snapshot(ThreadContext& self) {
  if (self.snapshot != ClockId::kNone) return self.snapshot;
  const uint64_t count = self.clock == 0 || memory_ == nullptr ? 0 : count_of(words(self.clock)[0]);
  const uint32_t first = arena_.take(Table::kClock, static_cast<uint32_t>(1 + count));
  if (first == 0) return ClockId::kNone;
  auto* to = static_cast<uint64_t*>(arena_.record(Table::kClock, first));
  to[0] = count;
  if (count != 0) std::memcpy(to + 1, words(self.clock) + 1, count * sizeof(uint64_t));
  self.snapshot = ClockId(first);
  return self.snapshot;
}

bool Order::before(const Witness& a, const Witness& b) const {
  if (a.thread == b.thread || b.clock == ClockId::kNone) return false;
  const auto* clock = static_cast<const uint64_t*>(arena_.record(Table::kClock, index_of(b.clock)));
  const uint64_t first = 0;
  uint64_t low = first;
  uint64_t high = clock[0];
  if (high > kMost) return false;
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    const uint32_t thread = thread_of(clock[1 + middle]);
    if (thread == index_of(a.thread)) return static_cast<uint32_t>(clock[1 + middle]) > a.epoch;
    if (thread < index_of(a.thread)) low = middle + 1;
    else high = middle;
  }
  return false;
}

}  // namespace causeway::dept
