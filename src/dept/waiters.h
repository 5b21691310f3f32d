// Who sleeps on an object, and which wakes it has seen: in memory of this process, found through Object::waiters.
//
//   Waiters& waiters = tracker.waiters();
//   if (Waiters::List* list = waiters.find(object)) { EngineLockGuard hold(list->lock); visit(list->first); }
//
// Three lists: sleepers, in the frames of their threads, oldest first; classes that ever slept here; and what past wakers had waited for in
// their contexts (List::past), for classes of sleepers that are yet to come. And the edges of wakes that wait for their sleeper's word
// (pending): a condition's sleeper that sleeps again has refused them.
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/sleeps.h"
#include "dept/tracker.h"

namespace causeway::dept {

class Waiters {
 public:
  static constexpr unsigned kHistory = 16, kPastEdges = 32;

  // An edge with its witness, not in the graph yet.
  struct Node {
    uint32_t next;
    ClassId from, to;
    ObjectId mutex;  // pending: until this is released
    Witness witness;
  };

  struct List {
    EngineLock lock;
    uint32_t next_free;
    std::atomic<sleeps::Sleep*> first;  // changed under the lock
    sleeps::Sleep* last;
    ClassId history[kHistory];
    std::atomic<uint32_t> history_count;  // ever; the array has the newest
    uint32_t past;        // Node
    uint32_t past_count;
    bool told_mutexes;    // Misuse::kTwoMutexes has been reported
  };

  int create(uint32_t capacity);
  void destroy();
  void after_fork();

  // nullptr: nobody ever slept there; no room.
  List* find(const Object& object) const {
    const uint32_t index = object.waiters.load(std::memory_order_acquire);
    return index == 0 ? nullptr : &lists_[index];
  }
  List* find_or_make(Object& object);

  bool has_sleepers(const Object& object) const;
  StackId requested_at(const Object& object) const;
  // It sleeps there, but what it waits for has come.
  bool is_woken(const Object& object, ThreadId thread) const;
  // The object is dead. True: its record may be used again.
  bool bury(Object& object);

  uint32_t take_node();  // 0: none left
  void give_node(uint32_t node);
  Node& node(uint32_t index) { return nodes_[index]; }

  // Pending edges that waited for `mutex` (kNone: for whatever) become real.
  void settle(Tracker& tracker, ThreadContext* self, ObjectId mutex);
  // The thread sleeps there again: what woke it from there was not its event.
  void refuse(Tracker& tracker, ThreadContext* self, ObjectId object, ClassId cls);

 private:
  static constexpr uint32_t kNodes = 1u << 14;
  List* lists_ = nullptr;
  Node* nodes_ = nullptr;
  uint32_t capacity_ = 0;
  EngineLock lock_;
  uint32_t next_list_ = 1, free_list_ = 0;
  uint32_t next_node_ = 1, free_node_ = 0;
};

namespace detail {
extern constinit Waiters waiters;
}
inline Waiters& Tracker::waiters() { return detail::waiters; }

}  // namespace causeway::dept
