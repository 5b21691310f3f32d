// What stands between a wrapper and the tracker: whether the tracker is on, and whether this thread may speak to it.
//
//   CW_INTERPOSE int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept {
//     if (!tracked()) return CW_REAL(pthread_mutex_unlock)(mutex);
//     {
//       const KeepErrno errno_is_kept;
//       locks::releasing(object, CW_SITE);
//     }
//     return CW_REAL(pthread_mutex_unlock)(mutex);
//   }
//
// The tracker starts with the first wrapper that is called, which may be that of another library's constructor, or in our own. A
// thread becomes known with its first call, however it was made, and is forgotten after its last key destructors.
#pragma once

#include "dept/site.h"

namespace causeway::interpose {

struct ThreadGate {
  bool ready;          // this thread's calls are told to the tracker
  bool busy;           // it is being made ready: what that calls passes through
  bool over;           // its end has been told; what it still does is nobody's
  int tid;             // once it is ready, as is the next
  int* errno_address;
};
extern constinit thread_local ThreadGate gate;

bool tracked_slow();
// Nothing to be told otherwise: off, starting, inside ourselves, or after the thread's end.
inline bool tracked() { return __builtin_expect(gate.ready, 1) || tracked_slow(); }

// pthread functions do not touch errno, and what they call for us may. Where tracked() has said yes.
class KeepErrno {
 public:
  KeepErrno() : saved_(*gate.errno_address) {}
  ~KeepErrno() { *gate.errno_address = saved_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  const int saved_;
};

// In the parent, just before: what the child will have to know of it.
void before_fork();
// In the child of a fork however made (fork, _Fork, clone, a system call) before anything else: a tracker of its own. Once for each
// child; of a vfork's child, which shares our memory, never.
void child_of_fork();
// Whether this is the process that the tracker belongs to: the child of a vfork runs in its memory and is not.
bool is_own_process();
// The process says goodbye; or does not after all, if exec failed.
void process_ends();
void process_goes_on();
// The calling thread's last act; from a key's destructor.
void thread_is_over();

}  // namespace causeway::interpose

// Where the program called the wrapper. To be used in the wrapper itself, not in what it calls.
#define CW_SITE (::causeway::dept::Site::at(__builtin_return_address(0)))
