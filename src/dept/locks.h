// Locks: what to wait for and what to hold, for each kind and way of taking it (spec 1.6, 4.2).
//
//   locks::acquiring(object, locks::Mode::kWrite, site, {});      // before the real call, contended or not
//   locks::acquired(object, locks::Mode::kWrite, site, {});       // after it, by what it returned
//   locks::releasing(object, site);                               // before the real unlock
//
//   how it is taken             waits for   then holds
//   exclusive, write            L; R and W  L; W
//   read, readers first         W           R
//   read, queued                R and W     R
//   try                         nothing     the same
//   downgrade                   nothing     R in place of W
//
// What was done before, from the same place and holding the same, goes a shorter way: dept/known_locks.h.
#pragma once

#include "dept/tracker.h"

namespace causeway::dept::locks {

enum class Mode : uint8_t { kWrite, kRead };

struct How {
  bool is_try = false;
  bool timed = false;
  uint8_t nesting = 0;          // kernel: SINGLE_DEPTH_NESTING and its like
  bool nest_lock = false;       // an outer lock serialises all of this class
  uint32_t flags = 0;           // Witness::Flag: kTentative, kInferred
};

// Reports a lock that this thread holds already (certain), or whose owner does not exist (certain), before it blocks.
void acquiring(ObjectId object, Mode mode, Site site, const How& how);
void acquired(ObjectId object, Mode mode, Site site, const How& how);
// The real call has failed (a time limit, EDEADLK): the thread waits no longer, and holds nothing more.
void not_acquired(ObjectId object);
// Misuse::kUnlockNotHeld if nobody holds it; an unlock by another thread than its owner resolves as an event.
void releasing(ObjectId object, Site site);
void downgraded(ObjectId object, Site site);
// A trylock failed at `site`: many in a row, while something is held, are a wait (Witness::kSpinTry).
void try_failed(ObjectId object, Mode mode, Site site);

// With the look-up in one, for locks found by address: what interposers call. acquiring_at returns the object.
ObjectId acquiring_at(const void* address, const ObjectTraits& traits, Mode mode, Site site, const How& how);
void releasing_at(const void* address, const ObjectTraits& traits, Site site);

}  // namespace causeway::dept::locks
