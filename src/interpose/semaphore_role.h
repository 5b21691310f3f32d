// What a semaphore is, by how it is used:
//
//   begins with   is                                         until
//   1             a lock, held by who took it                somebody posts who did not take
//   more          a pool: a circle needs all its holders     the same
//   0             a signal                                   for good
//
// What was concluded from a lock that turned out to be a signal is taken back (Graph::void_tentative).
//
//   semaphore::Taking taking;
//   semaphore::begin(taking, sem, site, false);         // before sem_wait()
//   semaphore::end(taking, sleeps::Outcome::kWoken);    // by what it returned
//   semaphore::post(sem, site);                         // before sem_post()
#pragma once

#include <semaphore.h>

#include "dept/known_wakes.h"
#include "interpose/sleeping.h"

namespace causeway::interpose::semaphore {

enum class Role : uint8_t { kLock, kPool, kSignal };

struct Taking {
  sleeping::Slot* slot = nullptr;
  dept::ObjectId object = dept::ObjectId::kNone;
  dept::Site site;
  Role role = Role::kSignal;
  bool timed = false;
};

void born(const sem_t* sem, unsigned value, const char* name, dept::Site site);
// One that may have existed before. Its name is its class.
void opened(sem_t* sem, const char* name, dept::Site site);
void died(const sem_t* sem);

void begin(Taking& taking, sem_t* sem, dept::Site site, bool timed);
void end(Taking& taking, dept::sleeps::Outcome outcome);
void taken_by_try(sem_t* sem, dept::Site site);
void post(sem_t* sem, dept::Site site);

// The short way of one that is used as a lock (dept/known_locks.h). What is held only if it is a lock lies among the readers there.
inline bool begin_known(dept::locks::Announced& announced, const sem_t* sem, dept::Site site) {
  return dept::locks::announce_known<true>(announced, sem, dept::locks::Mode::kRead, site);
}
inline bool begin_renewed(dept::locks::Announced& announced, const sem_t* sem, dept::Site site) {
  return dept::locks::announce_renewed<true>(announced, sem, dept::locks::Mode::kRead, site);
}
inline bool post_known(const sem_t* sem) {
  const dept::ThreadContext* self = dept::detail::tls.open;
  if (self == nullptr || self->held() == 0) return false;
  const dept::ObjectId newest = self->held_list()[self->held() - 1].object;
  const uint32_t flags = dept::Tracker::get().arena().words<dept::Object>(dept::Table::kObject)[index_of(newest)].flags.load(std::memory_order_relaxed);
  return (flags & (dept::Object::kLockLike | dept::Object::kSignalLike)) == dept::Object::kLockLike && dept::locks::release_known<true>(sem);
}

}  // namespace causeway::interpose::semaphore
