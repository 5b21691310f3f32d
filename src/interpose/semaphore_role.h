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

}  // namespace causeway::interpose::semaphore
