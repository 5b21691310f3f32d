// The tracker of this process: on or off, its threads, its objects, and the four things that make an edge: a wait, an open
// event context, a request, an event. Everything else of this room is made of these.
//
//   Settings settings;
//   if (Tracker::start(settings) < 0) ...             // once a process; negative errno
//   ObjectId a = Tracker::get().object_at(&mutex, {.kind = Kind::kMutex}, Site::at(pc));
//   tracker.wait(self, a, bit(Event::kWrite), site, {});           // before it may block
//   tracker.enter(self, a, Event::kWrite, site, 0, 0);             // it is held: its unlock is to come
//   tracker.leave(self, a, bit(Event::kWrite));                    // before the unlock
//
// Two ways an edge is born (spec 1.2). *Owned*: a wait, while event contexts are open, makes each depend on it, before anything
// blocks. *Unowned*: `request` marks an object; who then makes its event happen was, between the two, in
// the same context, waiting for other things: the event depends on those.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "dept/arena.h"
#include "dept/context.h"
#include "dept/graph.h"
#include "dept/objects.h"
#include "dept/order.h"
#include "dept/site.h"
#include "dept/stacks.h"

namespace causeway::dept {

struct Settings {
  int fd = -1;              // the arena's file; -1: memory of this process
  Arena::Capacity capacity;
  Judge judge;
  bool timeouts = false;    // record waits that have a time limit (always kept apart)
  bool predict = true;      // events without a waiter, windows from the context's beginning: kPredicted
  bool queued_readers = false;  // every rwlock's readers wait behind waiting writers
  bool full_stacks = false; // at every acquisition
  unsigned noise_us = 0;    // random sleep before events, up to this: rare interleavings come sooner
  // A report was made or raised; on the thread that did, outside the graph's lock, inside the tracker. May be null.
  void (*on_report)(ReportId id) = nullptr;
};

struct ObjectTraits {
  Kind kind = Kind::kUnknown;
  uint32_t flags = 0;          // Object::Flag
  uint64_t key = 0;            // of its class; 0: decided by address and first site (dept/class_choice.h)
  const char* name = nullptr;  // a literal or a symbol; copied
  uint8_t sub = 0;
  uint32_t class_flags = 0;    // Class::Flag
};

struct WaitTraits {
  bool timed = false;
  uint8_t nesting = 0;             // sub_l: silences the class's own edge if it differs from the held one's
  uint32_t flags = 0;              // Witness::Flag to add
  bool sched_sleep = false;        // a sleep of the scheduler itself
};

class Waiters;
struct ClassChoice;

class Tracker {
 public:
  // 0, or a negative errno: -EALREADY, -ENOMEM. Later changes of `settings` are without effect.
  static int start(const Settings& settings);
  // For tests: everything anew, while no other thread knows of the tracker any more (thread_ends).
  static int start_again(const Settings& settings);
  static bool is_on() { return detail::is_on.load(std::memory_order_relaxed); }
  static Tracker& get() { return *reinterpret_cast<Tracker*>(storage_); }
  // At once and for good: every entry returns immediately. Async-signal-safe. `why` is a literal.
  static void stop(const char* why);
  // In the child of fork(), by the forking thread before anything else runs: with a new arena file (-1: memory).
  static int child_after_fork(int fd);

  // --- threads. The first call on a thread makes it known; these say more.
  ThreadId thread_created(ThreadContext* creator, uint64_t start_routine, Site site);   // before it runs
  void thread_begins(ThreadId id, const char* name);                                    // first on the new thread
  void thread_ends(ThreadContext* self);                                                // last on it
  void thread_joined(ThreadContext* self, ThreadId ended);
  ObjectId object_of(ThreadId thread);                                                  // what a join waits for

  // --- objects
  // The object that lives at `address`, made known if it was not.
  ObjectId object_at(const void* address, const ObjectTraits& traits, Site first_use);
  // kNone if nobody used it so far.
  ObjectId find_object(const void* address) const;
  // A new one begins there, even if an old one was never destroyed.
  ObjectId object_born(const void* address, const ObjectTraits& traits, Site site);
  void object_died(const void* address);
  // All objects within. Costs next to nothing where there are none.
  void memory_freed(const void* begin, uint64_t size) {
    const auto low = reinterpret_cast<uintptr_t>(begin);
    if (is_on() && size != 0 && objects_.may_have(low, low + size)) [[unlikely]] objects_freed(low, low + size);
  }

  // --- the four
  // Before blocking on these events of `object` (several bits: each, in turn).
  void wait(ThreadContext* self, ObjectId object, EventMask events, Site site, const WaitTraits& traits);
  // What it waited for has come, or is not waited for any more, and nothing is held by it: a join.
  void wait_over(ThreadContext* self);
  // The same for a vertex that is not an object's own: a wait that is a class by its site.
  void wait_for_class(ThreadContext* self, ClassId cls, ObjectId object, Site site, StackId stack, const WaitTraits& traits);
  void enter(ThreadContext* self, ObjectId object, Event event, Site site, uint8_t held_flags, uint8_t nesting);
  // The newest open context of these events of `object` closes. False: it has none.
  bool leave(ThreadContext* self, ObjectId object, EventMask events);
  bool holds(const ThreadContext* self, ObjectId object, EventMask events) const;
  // Its event is wanted from now on. Stores and returns the generation, never 0.
  uint32_t request(ThreadContext* self, std::atomic<uint32_t>& wgen);
  // `cls`'s event is about to happen; it was wanted since `wgen` (0: by nobody, ignored).
  void event(ThreadContext* self, ClassId cls, ObjectId object, uint32_t wgen, Site site, StackId requested_at, uint32_t flags);

  // --- contexts
  void new_context(ThreadContext* self);                    // a new request, work item, dequeue: what was waited for before is past
  void irq_enter(ThreadContext* self, uint8_t kind);        // an interruption begins, on top of what runs: not by its own kind until it ends
  void irq_exit(ThreadContext* self);
  void irqs_enabled(ThreadContext* self, IrqMask enabled);  // from now on these may come
  void in_scheduler(ThreadContext* self, bool inside);

  const Settings& settings() const { return settings_; }
  Arena& arena() { return arena_; }
  Graph& graph() { return graph_; }
  Order& order() { return order_; }

  // --- for the rest of this room; the caller is inside
  struct WaitOf {
    ClassId cls;
    ObjectId object;
    Event event = Event::kWrite;
    LazyStack& stack;
    bool timed = false;
    uint8_t nesting = 0;
    uint32_t flags = 0;
    bool sched_sleep = false;
    bool in_ring = true;
  };
  // Edges from everything held, and what an interruption makes of it; the ring remembers it.
  void add_wait(ThreadContext* self, const WaitOf& wait);
  struct WindowOf {
    ClassId cls;              // whose event happens
    ObjectId object;
    Event event = Event::kWrite;
    uint32_t wgen = 0;        // wanted since; 0: nobody asked, everything is predicted
    LazyStack& stack;
    StackId requested_at = StackId::kNone;
    uint32_t flags = 0;
    bool any_context = false;  // a thread's end: all that it ever waited for
    enum class Part : uint8_t { kAll, kAsked, kPredicted } part = Part::kAll;
    uint32_t born_after = 0;   // kPredicted: ThreadContext::news; what came until then is left out
  };
  // Calls visit(to, witness, key) for every wait the event depends on and whose edge or witness would be news. `key` is for remember().
  template <typename Visit>
  void each_in_window(ThreadContext* self, const WindowOf& window, Visit&& visit);
  // All of these become edges.
  void depend_in_window(ThreadContext* self, const WindowOf& window);
  void remember(ThreadContext* self, uint64_t key) { self->chains[key % kChainCache] = key; }
  bool knows(const ThreadContext* self, uint64_t key) const {
    return self->chains[key % kChainCache] == key && self->generation == graph_.generation();
  }
  // For what happens often: each of the first few, then some at a time. `own` is the thread's count.
  void count_often(uint32_t& own, Counter counter) {
    constexpr uint32_t kBatch = 64;
    if (++own <= kBatch) arena_.count(counter);
    else if (own % kBatch == 0) arena_.count(counter, kBatch);
  }
  void depend(ClassId from, ClassId to, const Witness& witness);
  void publish(ReportId report) {
    if (report != ReportId::kNone && settings_.on_report != nullptr) settings_.on_report(report);
  }
  void report(Problem problem, Misuse misuse, Level level, ThreadContext* self, ObjectId object, LazyStack& stack,
              StackId other_stack);
  // Of the object's event: made at first use.
  ClassId class_of(ObjectId object, Event event) {
    const auto known = ClassId(arena_.at<Object>(object).classes[static_cast<unsigned>(event)].load(std::memory_order_acquire));
    return known != ClassId::kNone ? known : graph_.class_of(object, event);
  }
  ObjectId object_at(ThreadContext* self, const void* address, const ObjectTraits& traits, Site first_use, uintptr_t stack_pointer);
  // The entry of the cache that object_at() looks at first, if it is good.
  static CachedObject& place_of(ThreadContext* self, uint64_t address) {
    return self->objects[(address >> 3 ^ address >> 12) % kObjectCache];
  }
  static bool is_good(const CachedObject& entry, uint64_t address) {
    return entry.address == address && entry.object->generation.load(std::memory_order_relaxed) == entry.generation;
  }
  // Adds what the thread has taken to Counter::kLocks.
  void tell_locks(ThreadContext* self);
  // False: no room.
  bool push(ThreadContext* self, ObjectId object, Event event, ClassId cls, Site site, uint8_t held_flags, uint8_t nesting,
            uint32_t wgen);
  void drop(ThreadContext* self, uint32_t index);
  void drop_given_up(ThreadContext* self);
  void past(ThreadContext* self, const WaitOf& wait);
  Held* find_held(const ThreadContext* self, ObjectId object, EventMask events) const;
  void refresh_salt(ThreadContext* self);
  // What `self` has seen now: the rest is the caller's to say.
  static Witness witness_of(const ThreadContext* self, ObjectId from, Event from_event, ObjectId to, Event to_event, uint32_t flags);
  void fill_guards(const ThreadContext* self, uint32_t count, ObjectId without, Witness& witness) const;
  // The stack with which `site` first did something with the class; `stack`, if that is now.
  StackId know_site(ClassId cls, Site site, LazyStack& stack) { return site_stacks_.keep(cls, site, stack, arena_); }
  // Of a Held or a PastWait: its own, else that of its place, else the place alone.
  template <typename Seen>
  StackId stack_of(const Seen& seen) {
    const Site site{seen.site, seen.line};
    StackId stack = seen.stack != StackId::kNone ? seen.stack : site_stacks_.find(seen.cls, site);
    return stack != StackId::kNone ? stack : LazyStack(site, nullptr).id(arena_);
  }
  const SiteStacks& site_stacks() const { return site_stacks_; }
  Waiters& waiters();
  uint32_t now() { return arena_.header().now.load(std::memory_order_relaxed); }
  // A sleep of random length, where Settings::noise_us asks for it.
  void make_noise(ThreadContext* self);
  static void mark_recorded(Object& object) {
    if ((object.flags.load(std::memory_order_relaxed) & Object::kRecorded) == 0)
      object.flags.fetch_or(Object::kRecorded, std::memory_order_relaxed);
  }

 private:
  friend ThreadContext* detail::make_context();
  explicit Tracker(const Settings& settings)
      : settings_(settings), order_(arena_), graph_(arena_, &order_, settings.judge) {}
  int create(int fd);
  ThreadContext* attach(ThreadId known);
  // A thread's record and state in this arena, for a context. nullptr: none left.
  ThreadState* adopt(ThreadContext* self, ThreadId known = ThreadId::kNone);
  ThreadId describe_thread(ThreadContext* creator, uint64_t start_routine, StackId created);
  ObjectId make_object(ThreadContext* self, const void* address, const ObjectTraits& traits, Site site, bool on_stack);
  bool has_own_class(const ClassChoice& choice, Site first_use);
  ObjectId take_record();
  void bury(ThreadContext* self, ObjectId id);  // under objects_.lock()
  void objects_freed(uint64_t begin, uint64_t end);
  bool is_on_stack(const ThreadContext* self, uint64_t address, uintptr_t stack_pointer) const;
  void leave_stack(ThreadContext* self, uintptr_t stack_pointer);
  void note_stack_object(ThreadContext* self, ObjectId id);
  // Of the first `count` entries of what is held.
  uint64_t guards_hash(const ThreadContext* self, uint32_t count, ObjectId without) const;
  // How many entries there are up to the one with this chain; 0: it is not held any more.
  static uint32_t entries_of(const ThreadContext* self, uint64_t chain);
  void irq_contexts(ThreadContext* self, const Held& held, IrqMask enabled);

  static constexpr unsigned kQuarantine = 1u << 14, kOwnPlaces = 1024;
  static constexpr uint8_t kOwnClasses = 200;  // that objects which are first used at one place may have, each by its address
  alignas(64) static std::byte storage_[];
  Settings settings_;
  Arena arena_;
  Order order_;
  Graph graph_;
  Objects objects_;
  SiteStacks site_stacks_;
  EngineLock threads_lock_;
  ThreadContext* threads_ = nullptr;       // of all threads that live
  std::atomic<uint32_t> threads_free_{0};  // states that ended threads have left
  uint8_t own_classes_[kOwnPlaces] = {};
  uint32_t buried_first_ = 0, buried_next_ = 0;
  ObjectId buried_[kQuarantine];           // dead, never recorded: their records wait to be used again
};

}  // namespace causeway::dept
