// What a tracker records, as it lies in its arena: plain structs without pointers, so that another process, or a later
// run, can read the same file (src/findings).
//
//   for (uint32_t i = 1; i < arena.used<Edge>(); ++i) draw(arena.at<Edge>(EdgeId(i)));
//
// Layout version kLayoutVersion; the arena's header carries it. Words that change after a record is published are
// std::atomic<>; everything else is written before its id becomes visible.
//
// The model (docs/dept.md): a *class* is a vertex, all objects that follow the same rules; an *edge* A -> B says that the
// event of A cannot happen before the event of B has ("A depends on B"); a *witness* is one time that was seen.
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/ids.h"
#include "dept/site.h"

namespace causeway::dept {

inline constexpr uint32_t kLayoutVersion = 2;

// What kind of thing an object is; decides words in reports, not rules.
enum class Kind : uint8_t {
  kUnknown, kMutex, kSpinLock, kRwLock, kCondVar, kSemaphore, kBarrier, kThread, kOnce, kStaticInit, kFutex, kFile,
  kLoader, kCompletion, kWaitQueue, kMap, kWork, kExit,
};

// The vertices one object may own. A plain lock, and every event that is no lock, uses kWrite alone.
enum class Event : uint8_t { kWrite, kRead, kThird };
inline constexpr unsigned kEvents = 3;
inline constexpr unsigned kUserSubclasses = 8;
using EventMask = uint8_t;
constexpr EventMask bit(Event event) { return static_cast<EventMask>(1u << static_cast<unsigned>(event)); }
// sub_id of the kernel: user subclass + event * 8.
constexpr uint8_t sub_id(Event event, uint8_t user) {
  return static_cast<uint8_t>(static_cast<unsigned>(event) * kUserSubclasses + user);
}

// Up to 64 kinds of interruption: signals of a program, hard and soft interrupts of a model.
using IrqMask = uint64_t;

struct alignas(64) Class {
  enum Flag : uint32_t {
    kBySite = 1,         // a wait is its own class; the name is that of the object waited on
    kStrictNesting = 2,  // two objects of it held at once are a report (the kernel's rule); else decided by instances
    kTimed = 4,          // every wait on it so far had a time limit
    kHidden = 8,         // of the tool's own or a library's internals: not shown alone
  };
  uint64_t key;                          // the same in every run of the same program
  StringId name;
  StackId site;                          // of its first object's birth, or of the wait
  std::atomic<uint32_t> flags;
  Kind kind;
  uint8_t sub;                           // sub_id()
  uint16_t unused;
  std::atomic<uint32_t> first_out;       // EdgeId
  std::atomic<uint32_t> first_in;
  std::atomic<uint64_t> enabled_irqs;    // an event context of it has run with these enabled
  std::atomic<uint64_t> irq_waits;       // it was waited for inside these
  uint32_t mark;                         // of the search that is under way; the graph's lock
  uint32_t parent;                       // EdgeId by which that search came here
};
static_assert(sizeof(Class) == 64);

struct alignas(64) Object {
  enum Flag : uint32_t {
    kDead = 1,         // its memory is no longer this object's
    kQueued = 2,       // readers wait behind waiting writers
    kRecursive = 4,
    kReaderLock = 8,   // an rwlock
    kNoCheck = 16,
    kOnStack = 32,
    kRobust = 64,
    kLockLike = 128,   // semaphore or futex: used as a lock so far
    kSignalLike = 256, // used as a signal: never held
    kErrorCheck = 512, // taking it again returns an error instead of blocking
    kOrphan = 1024,    // its owner does not exist in this process (fork)
    kForeign = 2048,   // on a stack, but used by other threads as well
    kRecorded = 4096,  // named in a witness or a report: its record is never used again
    kHandedOver = 8192,  // unlocked by others than its owner: taking it asks for its event
  };
  uint64_t address;
  uint64_t key;                            // of its classes
  StringId name;
  StackId birth;
  std::atomic<uint32_t> flags;
  Kind kind;
  uint8_t sub;                             // user subclass, 0..7
  uint16_t class_flags;                    // Class::Flag of its classes
  std::atomic<uint32_t> classes[kEvents];  // ClassId, made at first use
  std::atomic<uint32_t> wgen;              // generation of the request that is outstanding; 0: none
  std::atomic<uint32_t> waiters;           // WaitersId: who sleeps on it (dept/sleeps.h); 0: nobody ever did
  std::atomic<uint32_t> value;             // the kind's own: initial count of a semaphore
  std::atomic<uint32_t> generation;        // of this record: objects that died unrecorded leave theirs to others
  std::atomic<uint32_t> clock;             // of order.cc: what happened before its newest event; private to the process
};
static_assert(sizeof(Object) == 64);

struct Edge {
  enum Flag : uint32_t {
    kInCycle = 1,    // more witnesses are kept
    kVoid = 2,       // it came only from what turned out not to be so
    // Of a class with itself: an order of its objects that some pair does not follow (dept/instance_order.h).
    kNotByAddress = 4, kNotAgainstAddress = 8, kNotByFirstUse = 16, kNotAgainstFirstUse = 32,
  };
  ClassId from, to;
  EdgeId next_out, next_in;
  std::atomic<uint32_t> flags;
  std::atomic<uint32_t> kinds;          // union of Witness::flags
  std::atomic<uint32_t> first_witness;  // WitnessId, newest first
  std::atomic<uint32_t> witnesses;
  std::atomic<uint64_t> count;          // times a witness was offered
  uint64_t first_seen_ns, last_seen_ns; // CLOCK_MONOTONIC
};
static_assert(sizeof(Edge) == 56);

inline constexpr unsigned kGuards = 8;

struct Witness {
  enum Flag : uint32_t {
    kOwned = 1,       // the thread held `from` when it waited for `to`
    kWindow = 2,      // it waited for `to` after `from` was asked for, and before it made it happen
    kPredicted = 4,   // it waited for `to` before it made `from` happen, but nobody was asking yet
    kTimed = 8,       // the wait for `to` had a time limit
    kTentative = 16,  // `from` or `to` is held only if it is a lock (semaphores)
    kInferred = 32,   // the lock or event was concluded from system calls
    kSpinTry = 64,    // a loop of trylock
    kIrq = 128,       // an interruption of an event context: interrupted_by waits
    kGuardsLost = 256,  // it held more than guards[] has room for
    kPool = 512,
    kMerged = 1024,   // of another run
    kAgain = 2048,    // the wait for a thread's end: `from` was taken at the same place before, without that
  };
  WitnessId next;
  ThreadId thread;
  ObjectId from_object, to_object;
  StackId start;                 // where `from` began to be held, or was asked for
  StackId wait;                  // where `to` was waited for
  StackId event;                 // where `from` happened; none of an owned one, which has not yet
  uint32_t flags;
  ClockId clock;                 // of the thread at the wait (dept/order.h)
  uint32_t epoch;                // the thread's own component then
  Event from_event, to_event;
  uint8_t irq;                   // kIrq: by which
  uint8_t guard_count;
  uint32_t run;                  // of a merged one: which
  ObjectId guards[kGuards];      // held exclusively at the wait, without `from` and without a condition's own mutex
  uint64_t time_ns;
  uint64_t hash;                 // of what makes it different from others
};
static_assert(sizeof(Witness) == 96);

struct Thread {
  char name[16];
  int32_t tid;
  ThreadId creator;
  StackId created;
  uint32_t level;                 // distance from the main thread
  uint64_t start_routine;         // program counter
  uint64_t started_ns;
  std::atomic<uint64_t> ended_ns; // 0: it runs
  std::atomic<uint32_t> state;    // its ThreadState; 0: it has none any more
  std::atomic<uint32_t> object;   // ObjectId: what a join waits for
};
static_assert(sizeof(Thread) == 64);

// One event context that is open. Written by its thread alone; read by others, who check what they read.
struct Held {
  ObjectId object;
  ClassId cls;
  uint64_t site;          // Site::where
  uint32_t line;          // Site::line
  uint32_t wgen;
  uint64_t chain;         // hash of this entry and all below it
  StackId stack;          // if it is known already
  Event event;
  uint8_t nesting;        // sub_l of the kernel
  uint8_t flags;
  uint8_t depth;          // of a recursive lock
  enum Flag : uint8_t { kShared = 1, kTentative = 2, kIgnored = 4, kTry = 8, kTimed = 16 };
};
static_assert(sizeof(Held) == 40);

inline constexpr unsigned kMaxHeld = 1024;

// What a thread that lives holds and waits for, for who looks from outside.
struct ThreadState {
  std::atomic<uint32_t> thread;           // ThreadId; 0: free
  std::atomic<uint32_t> waiting_sequence; // odd: being changed
  std::atomic<uint64_t> held_and_waiting; // entries of `held_list`; above them ObjectId of what it waits for, 0: it runs
  std::atomic<uint32_t> waiting_class;
  std::atomic<uint32_t> waiting_stack;
  std::atomic<uint32_t> waiting_flags;    // Witness::kTimed; EventMask in bits 16..18
  std::atomic<uint32_t> waiting_partner;  // ObjectId: mutex given up for the wait
  std::atomic<uint64_t> waiting_site;     // program counter, for one without a stack; 0: that of the entry to come
  std::atomic<uint64_t> given_up;         // two ObjectIds that it holds and others have unlocked; it drops them itself
  uint64_t unused[2];
  Held held_list[kMaxHeld];

  uint32_t held() const { return static_cast<uint32_t>(held_and_waiting.load(std::memory_order_acquire)); }
  ObjectId waiting_object() const { return ObjectId(held_and_waiting.load(std::memory_order_acquire) >> 32); }
  uint64_t site_of_wait() const {
    const uint64_t site = waiting_site.load(std::memory_order_relaxed);
    const uint32_t count = held();
    return site != 0 || count >= kMaxHeld ? site : held_list[count].site;
  }
  // By its own thread alone.
  void set_held(uint32_t count) {
    const uint64_t other = held_and_waiting.load(std::memory_order_relaxed) >> 32 << 32;
    held_and_waiting.store(other | count, std::memory_order_release);
  }
  void set_waiting(ObjectId object) {
    const auto count = static_cast<uint32_t>(held_and_waiting.load(std::memory_order_relaxed));
    held_and_waiting.store(uint64_t{index_of(object)} << 32 | count, std::memory_order_release);
  }
};
static_assert(sizeof(ThreadState) == 64 + kMaxHeld * sizeof(Held));

struct Stack {
  uint64_t hash;
  uint32_t first;  // in the table of frames
  uint32_t depth;
};
static_assert(sizeof(Stack) == 16);

// A piece of code that is, or was, loaded.
struct Module {
  uint64_t begin, end;       // of all that is mapped of it, text and data; end 0: being written
  uint64_t bias;             // address = offset in the file + bias
  StringId path;
  uint8_t build_id_size;
  uint8_t build_id[20];
  uint8_t seen;              // by which look at what is loaded, of who writes
  uint8_t unused[2];
  std::atomic<uint64_t> unloaded_ns;  // 0: it is there
};
static_assert(sizeof(Module) == 64);

enum class Level : uint8_t { kInfo, kPossible, kLikely, kCertain };

enum class Problem : uint8_t {
  kCycle,            // edges that close
  kRelock,           // a thread takes a lock that it holds
  kOrphan,           // a lock whose owner does not exist in this process (fork)
  kMisuse,           // see Misuse
  kStuck,            // threads that do wait for each other (found from outside)
};

// Its number is part of a report's id, which is the same in every version: none is used again.
enum class Misuse : uint8_t {
  kNone, kUnlockNotHeld, kUnlockByOther, kDestroyHeld, kDestroyWaited, kInitHeld, kRecursiveWait, kTwoMutexes, kErrorIgnored,
  kExitHeld, kSelfJoin = 11, kWrongContext = 14, kWwContext, kInitInUse,
};

inline constexpr unsigned kHops = 16;

// Why a report has not a higher level.
enum Refutation : uint32_t {
  kOneThread = 1,          // all, or two, hops were seen from one thread only
  kGate = 2,               // two hops happen under one lock
  kOrdered = 4,            // one hop was over before the other could begin
  kOnlyTimed = 8,          // a wait has a time limit
  kOtherObjects = 16,      // hops meet in the class, not in the object
  kOnlyPredicted = 32,     // a hop was not seen to be waited for
  kOnlyInferred = 64,
  kOnlyTentative = 128,
  kOrderNotConsistent = 256,  // objects of one class, in no order that could be told
  kOthersNotShared = 512,     // of such a pair one is on a stack, and no other thread has ever used it
};

struct Hop {
  EdgeId edge;
  WitnessId witness;
};

struct Report {
  std::atomic<uint32_t> published;  // 0: being written; a report that changes is published anew with a higher sequence
  uint32_t sequence;
  uint64_t id;                      // of the canonical cycle, by keys of classes: the same in every run
  Problem problem;
  Level level;
  Misuse misuse;
  uint8_t hop_count;
  uint32_t refutations;
  ThreadId thread;                  // who closed the cycle, or misused
  ObjectId object;
  StackId stack;
  StackId other_stack;              // where it was locked before
  uint64_t time_ns;
  ReportId replaces;                // the same finding at a lower level
  uint32_t unused;
  Hop hops[kHops];
};
static_assert(sizeof(Report) == 56 + kHops * sizeof(Hop));

}  // namespace causeway::dept
