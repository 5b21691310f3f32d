// What certainly came before what: vector clocks of thread creation, join, wake-ups, posts, barriers and once.
//
//   order.release(self, object);                      // before a post, a signal, an arrival, a thread's end
//   order.acquire(self, object);                      // after the wait that it ended
//
// A mutex orders nothing here: which of two critical sections came first is chance. A hop of a circle that was over
// before another could begin makes no deadlock (Judge::order), but only in this run: it lowers, it never removes.
//
// A clock is a sorted list of (thread, epoch), as long as its owner knows threads. Those of threads and objects change, in memory of
// this process; a witness's is a copy in the arena. One that would grow beyond kMost forgets the threads that ended longest ago:
// what is forgotten is unordered.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "dept/arena.h"
#include "dept/engine_lock.h"

namespace causeway::dept {

struct ThreadContext;

// In the arena: a count, then as many words (thread << 32 | epoch), sorted by thread.
struct Clock {
  uint64_t count;
  uint64_t entries[1];
};

class Order {
 public:
  static constexpr unsigned kMost = 1023;

  explicit Order(Arena& arena) : arena_(arena) {}
  int create();
  void destroy();

  void thread_created(ThreadContext& creator, ThreadId created);  // before it runs
  void thread_begins(ThreadContext& self);
  void thread_ends(ThreadContext& self);
  void thread_joined(ThreadContext& self, ThreadId ended);
  void release(ThreadContext& self, ObjectId object);
  void acquire(ThreadContext& self, ObjectId object);
  // In the child: nothing is known of before.
  void after_fork();
  // The object's record will be another's.
  void forget(ObjectId object);
  // The clock of this moment, kept for a witness. kNone: no room; it is then ordered with nothing.
  ClockId snapshot(ThreadContext& self);

  // Whether the wait of `a` was certainly over when that of `b` began.
  bool before(const Witness& a, const Witness& b) const;

 private:
  // A list that grows: in blocks of 15, 63, 255 or 1023 entries. An object's has the newest thread that knows all that is in it, and the
  // newest that released it, with its epoch then: who does the same again, and has learnt nothing since, has little to do.
  struct Block {
    uint32_t count, size;
    uint64_t knower, teller;
    uint64_t entries[1];
  };
  static constexpr uint64_t kHead = offsetof(Block, entries) / sizeof(uint64_t);
  Block& block(uint32_t clock) const { return *reinterpret_cast<Block*>(memory_ + uint64_t{clock}); }
  static void set_knower(Block& block, ThreadId thread);
  static bool has_told_all(const ThreadContext& self, const Block& block);
  static bool tell_newer(Block& block, uint64_t own);
  uint32_t take_block(unsigned size);
  void give_block(uint32_t clock);
  // Makes `*into` know all that `from` knows; both may be 0. False: no memory.
  bool merge(uint32_t* into, const uint64_t* entries, uint64_t count);
  EngineLock& lock_of(ObjectId object) { return locks_[index_of(object) % kLocks]; }

  static constexpr unsigned kLocks = 64, kSizes = 4;
  static constexpr uint64_t kWords = 1u << 23;
  Arena& arena_;
  EngineLock locks_[kLocks];
  EngineLock blocks_;
  uint64_t* memory_ = nullptr;
  uint64_t next_word_ = 1;
  uint32_t free_[kSizes] = {};
};

}  // namespace causeway::dept
