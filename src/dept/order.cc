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

// Where a thread's entry is in a sorted list, or would be.
uint64_t place_of(const uint64_t* entries, uint64_t count, uint32_t thread) {
  uint64_t low = 0;
  while (low < count) {
    const uint64_t middle = (low + count) / 2;
    if (thread_of(entries[middle]) < thread) low = middle + 1;
    else count = middle;
  }
  return low;
}

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
    free_[size] = static_cast<uint32_t>(block(clock).entries[0]);
  } else {
    if (next_word_ + kHead + kSizeOf[size] > kWords) return 0;
    clock = static_cast<uint32_t>(next_word_);
    next_word_ += kHead + kSizeOf[size];
  }
  Block& fresh = block(clock);
  fresh.count = 0;
  fresh.size = size;
  set_knower(fresh, ThreadId::kNone);
  fresh.teller = 0;
  return clock;
}

void Order::give_block(uint32_t clock) {
  if (clock == 0) return;
  EngineLockGuard hold(blocks_);
  Block& old = block(clock);
  old.entries[0] = free_[old.size];
  free_[old.size] = clock;
}

bool Order::merge(uint32_t* into, const uint64_t* entries, uint64_t count) {
  if (memory_ == nullptr) return false;
  uint64_t* to = *into == 0 ? nullptr : block(*into).entries;
  const uint64_t had = *into == 0 ? 0 : block(*into).count;
  // How many are new, and whether anything changes where both know a thread.
  uint64_t added = 0;
  for (uint64_t i = 0, j = 0; i < count;) {
    if (j == had || thread_of(entries[i]) < thread_of(to[j])) {
      ++added;
      ++i;
    } else if (thread_of(entries[i]) > thread_of(to[j])) {
      ++j;
    } else {
      if (entries[i] > to[j]) to[j] = entries[i];
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
      std::memmove(to, to + gone, (had - gone) * sizeof(uint64_t));
      block(*into).count -= static_cast<uint32_t>(gone);
      excess -= gone;
    }
    if (excess != 0 || had == 0) return merge(into, entries + excess, count - excess);
    return merge(into, entries, count);
  }
  unsigned size = 0;
  while (kSizeOf[size] < total) ++size;
  uint32_t clock = *into;
  if (clock == 0 || block(clock).size < size) {
    clock = take_block(size);
    if (clock == 0) return false;
    if (had != 0) std::memcpy(block(clock).entries, to, had * sizeof(uint64_t));
    give_block(*into);
    *into = clock;
    to = block(clock).entries;
  }
  // From the end, so that nothing is overwritten before it has moved.
  uint64_t out = total;
  uint64_t i = count;
  uint64_t j = had;
  while (out != 0) {
    if (i != 0 && (j == 0 || thread_of(entries[i - 1]) >= thread_of(to[j - 1]))) {
      if (j != 0 && thread_of(entries[i - 1]) == thread_of(to[j - 1])) {
        --i;
        continue;  // known, and newer where it stands
      }
      to[--out] = entries[--i];
    } else {
      to[--out] = to[--j];
    }
  }
  block(clock).count = static_cast<uint32_t>(total);
  return true;
}

void Order::set_knower(Block& block, ThreadId thread) {
  std::atomic_ref(block.knower).store(entry_of(thread, 0), std::memory_order_relaxed);
}

// It released the object last, and has learnt nothing since: the object knows all that it knows, but for its own newest epoch.
bool Order::has_told_all(const ThreadContext& self, const Block& block) {
  return thread_of(block.teller) == index_of(self.thread) && static_cast<int32_t>(static_cast<uint32_t>(block.teller) - self.clock_changed) > 0;
}

bool Order::tell_newer(Block& block, uint64_t own) {
  const uint64_t place = place_of(block.entries, block.count, thread_of(own));
  if (place == block.count || thread_of(block.entries[place]) != thread_of(own)) return false;
  block.entries[place] = own;
  return true;
}

void Order::release(ThreadContext& self, ObjectId object) {
  if (object == ObjectId::kNone) return;
  const uint64_t own = entry_of(self.thread, ++self.epoch);
  ++self.stamp;
  std::atomic<uint32_t>& clock = arena_.at<Object>(object).clock;
  EngineLockGuard hold(lock_of(object));
  uint32_t mine = clock.load(std::memory_order_relaxed);
  // What the object knew before, and who releases it did not, is news to it still.
  const bool knows_all = mine == 0 || thread_of(block(mine).knower) == index_of(self.thread);
  if (mine == 0 || !has_told_all(self, block(mine)) || !tell_newer(block(mine), own)) {
    if (self.clock != 0) merge(&mine, block(self.clock).entries, block(self.clock).count);
    merge(&mine, &own, 1);
    clock.store(mine, std::memory_order_relaxed);
    if (mine == 0) return;
  }
  block(mine).teller = own;
  set_knower(block(mine), knows_all ? self.thread : ThreadId::kNone);
}

void Order::acquire(ThreadContext& self, ObjectId object) {
  if (object == ObjectId::kNone) return;
  std::atomic<uint32_t>& clock = arena_.at<Object>(object).clock;
  const uint32_t seen = clock.load(std::memory_order_relaxed);
  // It sees at least the newest of the releases that came before, each of which makes somebody else the knower, or nobody.
  if (seen == 0 || std::atomic_ref(block(seen).knower).load(std::memory_order_relaxed) == entry_of(self.thread, 0)) return;
  EngineLockGuard hold(lock_of(object));
  const uint32_t theirs = clock.load(std::memory_order_relaxed);
  if (theirs == 0) return;
  merge(&self.clock, block(theirs).entries, block(theirs).count);
  set_knower(block(theirs), self.thread);
  self.clock_changed = ++self.epoch;
  ++self.stamp;
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
  const uint64_t count = self.clock == 0 || memory_ == nullptr ? 0 : block(self.clock).count;
  const uint32_t first = arena_.take(Table::kClock, static_cast<uint32_t>(1 + count));
  if (first == 0) return ClockId::kNone;
  auto* to = static_cast<uint64_t*>(arena_.record(Table::kClock, first));
  to[0] = count;
  if (count != 0) std::memcpy(to + 1, block(self.clock).entries, count * sizeof(uint64_t));
  self.snapshot = ClockId(first);
  return self.snapshot;
}

bool Order::before(const Witness& a, const Witness& b) const {
  if (a.thread == b.thread || b.clock == ClockId::kNone) return false;
  const auto* clock = static_cast<const uint64_t*>(arena_.record(Table::kClock, index_of(b.clock)));
  const uint64_t count = clock[0];
  if (count > kMost) return false;
  const uint64_t place = place_of(clock + 1, count, index_of(a.thread));
  return place != count && thread_of(clock[1 + place]) == index_of(a.thread) && static_cast<uint32_t>(clock[1 + place]) > a.epoch;
}

}  // namespace causeway::dept
