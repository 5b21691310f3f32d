// Sleeps until an event, and who ends them: condition variables, semaphores, completions, futexes, file descriptors.
//
//   sleeps::Sleep sleep;
//   sleeps::begin(sleep, cond, site, {.released = mutex});         // before the real wait
//   ...
//   sleeps::end(sleep, sleeps::Outcome::kWoken, site);
//
//   sleeps::wake(cond, site, sleeps::Wakes::kOne);                 // before the real call
//
// The class of such an event is the place of the wait, under the class of the object (spec 1.4): two uses of one condition are
// two events. But what is posted to a semaphore or written to a file, and a thread's end, is one event wherever it is waited for. A wake looks at who sleeps there now: for each class of sleeper, everything the waker waited for since that sleeper
// asked, in its present context, is an edge (Witness::kWindow). Without a sleeper, or from the start of the context, kPredicted.
//
// A wake that does not satisfy its sleeper was not its event: edges of a wake that a condition wait may still refuse become real
// when the woken thread leaves its loop, that is when it releases the mutex without waiting again from the same place.
#pragma once

#include "dept/tracker.h"

namespace causeway::dept::sleeps {

enum class Outcome : uint8_t { kWoken, kTimedOut, kInterrupted, kDidNotSleep };

struct How {
  bool timed = false;
  ObjectId released = ObjectId::kNone;  // the mutex that is given up meanwhile: not held during the wait, taken again after it
  bool loops = false;                   // woken sleepers re-check a predicate: the commit rule above
  bool dequeues = true;                 // what it waits for may begin something new (spec 4.1); room to write does not
  bool predicted = false;               // it will not sleep this time, but could have
  uint32_t flags = 0;                   // Witness::Flag
};

// Of one wait; lives in the waiter's frame, where wakers see it until it ends.
struct Sleep {
  ObjectId object = ObjectId::kNone;
  ClassId cls = ClassId::kNone;
  ObjectId released = ObjectId::kNone;
  ThreadId thread = ThreadId::kNone;
  uint32_t wgen = 0;
  StackId stack = StackId::kNone;
  uint32_t pending = 0;      // edges of wakes that this sleeper has to confirm
  bool tracked = false;
  bool linked = false;
  bool is_woken = false;     // a wake was for it, and it has not come back yet
  bool timed = false;
  bool loops = false;
  bool dequeues = true;
  bool was_held = false;     // `mutex` is what was held of the released one
  Held mutex = {};
  Sleep* next = nullptr;
  Sleep* previous = nullptr;
};

// Edges from everything held, and the sleeper is registered; while the mutex is still held, so that no wake slips between.
void begin(Sleep& sleep, ObjectId object, Site site, const How& how);
// It runs again. Takes the released mutex back into what is held, with its edges. kWoken orders it after the waker.
void end(Sleep& sleep, Outcome outcome, Site site);

enum class Wakes : uint8_t { kOne, kAll };
void wake(ObjectId object, Site site, Wakes who, uint32_t flags = 0);

// The dequeue rule (spec 4.1): after a wait, holding nothing but `except`, a thread begins something new.
void maybe_new_context(ThreadContext* self, ObjectId except);

}  // namespace causeway::dept::sleeps
