// Threads from their creation to their join: what a wrapper that makes one (pthread_create, thrd_create) has to do.
//
//   NewThread* fresh = announce_thread(reinterpret_cast<void*>(routine), argument, CW_SITE);
//   int result = CW_REAL(pthread_create)(&thread, attributes, &trampoline, fresh);       // its first act: begin_thread(fresh)
//   result == 0 ? thread_started(thread, number) : thread_failed(fresh);
//
// The end is told by a key's destructor (bootstrap.cc), after all others': pthread_exit and cancellation come there too.
#pragma once

#include <pthread.h>

#include "dept/sleeps.h"
#include "dept/tracker.h"

namespace causeway::interpose {

// What a thread is given by its creator. From a pool of our own: nothing here may call malloc().
struct NewThread {
  void* routine;
  void* argument;
  dept::ThreadId thread;
  NewThread* next;  // in the pool
};
// nullptr: no memory; the thread is then started untold, and becomes known with its first call.
NewThread* announce_thread(void* routine, void* argument, dept::Site site);
// On the new thread. `fresh` is no more.
struct ThreadStart { void* routine; void* argument; };
ThreadStart begin_thread(NewThread* fresh);
void thread_failed(NewThread* fresh);
void thread_started(pthread_t handle, dept::ThreadId thread);
// kNone: not one of those.
dept::ThreadId thread_of(pthread_t handle);

// One join, around the real call. A cancelled one leaves by `abandon`, a cleanup handler.
struct Join {
  dept::ThreadId target = dept::ThreadId::kNone;
  dept::Site site;
  dept::sleeps::Sleep sleep;
};
void join_begins(Join& join, pthread_t handle, dept::Site site, bool timed);
void join_ends(Join& join, int result);
void abandon_join(void* join);

// In the child of a fork: whoever held our lock is gone.
void threads_after_fork();

}  // namespace causeway::interpose
