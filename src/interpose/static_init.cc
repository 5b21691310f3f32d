// Initialisation of static variables in functions (Itanium C++ ABI 3.3.3). Only guards that are not done come here: the compiler looks at
// the first byte itself.
//
// The C++ library may be one that a program without one has loaded for itself, where nobody else finds it, or be part of a
// module that shows us these three functions and hides its own. Then ours do the work: all three together, so they need to
// agree with no other.
#include <cxxabi.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include <atomic>

#include "client/raw.h"
#include "interpose/bootstrap.h"
#include "interpose/once.h"
#include "interpose/real.h"

using namespace causeway::dept;
using namespace causeway::interpose;

namespace {

using Guard = __cxxabiv1::__guard;
using Acquire = int(Guard*);
using Finish = void(Guard*);

struct Functions {
  Acquire* acquire;
  Finish* release;
  Finish* abort;
};

// The second word of a guard, which is free for the implementation; the first byte of the first says that it is done.
enum Progress : uint32_t { kIdle, kRunning, kRunningAndAwaited };
std::atomic_ref<uint32_t> progress(Guard* guard) { return std::atomic_ref<uint32_t>(reinterpret_cast<uint32_t*>(guard)[1]); }
std::atomic_ref<uint8_t> done(Guard* guard) { return std::atomic_ref<uint8_t>(*reinterpret_cast<uint8_t*>(guard)); }

int own_acquire(Guard* guard) {
  for (;;) {
    if (done(guard).load(std::memory_order_acquire) != 0) return 0;
    uint32_t seen = kIdle;
    if (progress(guard).compare_exchange_strong(seen, kRunning, std::memory_order_acquire)) {
      if (done(guard).load(std::memory_order_acquire) == 0) return 1;
      progress(guard).store(kIdle, std::memory_order_release);
      return 0;
    }
    if (seen == kRunning && !progress(guard).compare_exchange_strong(seen, kRunningAndAwaited, std::memory_order_relaxed)) continue;
    causeway::client::raw(SYS_futex, reinterpret_cast<uint32_t*>(guard) + 1, FUTEX_WAIT_PRIVATE, kRunningAndAwaited, nullptr, nullptr, 0);
  }
}

void own_abort(Guard* guard) {
  if (progress(guard).exchange(kIdle, std::memory_order_release) == kRunningAndAwaited)
    causeway::client::raw(SYS_futex, reinterpret_cast<uint32_t*>(guard) + 1, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

void own_release(Guard* guard) {
  done(guard).store(1, std::memory_order_release);
  own_abort(guard);
}

constexpr Functions kOwn{own_acquire, own_release, own_abort};

bool find_in(void* where, Functions* functions) {
  *functions = {reinterpret_cast<Acquire*>(dlsym(where, "__cxa_guard_acquire")),
                reinterpret_cast<Finish*>(dlsym(where, "__cxa_guard_release")),
                reinterpret_cast<Finish*>(dlsym(where, "__cxa_guard_abort"))};
  return functions->acquire != nullptr && functions->release != nullptr && functions->abort != nullptr;
}

constinit Functions found{};
constinit std::atomic<const Functions*> chosen{nullptr};

// Once for all guards: two implementations must not meet in one.
const Functions& real() {
  const Functions* known = chosen.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  Functions functions;
  const Functions* choice = &kOwn;
  if (find_in(RTLD_NEXT, &functions)) {
    found = functions;  // by several at a time, all with the same
    choice = &found;
  }
  chosen.compare_exchange_strong(known, choice, std::memory_order_acq_rel);
  return *chosen.load(std::memory_order_acquire);
}

// What happens within an initialisation is told between its beginning and its end, which are calls of their own.
ObjectId known(Guard* guard) { return Tracker::get().find_object(guard); }

}  // namespace

CW_INTERPOSE int __cxa_guard_acquire(Guard* guard) {
  if (!tracked()) return real().acquire(guard);
  const Site site = CW_SITE;
  const ObjectId object = once::waits(guard, Kind::kStaticInit, once::Done::kNo, site);
  const int ours = real().acquire(guard);
  if (object == ObjectId::kNone) return ours;
  if (ours != 0) {
    once::runs(object, site);
  } else {
    once::others_ran(object);
  }
  return ours;
}

CW_INTERPOSE void __cxa_guard_release(Guard* guard) noexcept {
  if (tracked()) {
    const ObjectId object = known(guard);
    if (object != ObjectId::kNone) once::ran(object, CW_SITE);
  }
  real().release(guard);
}

CW_INTERPOSE void __cxa_guard_abort(Guard* guard) noexcept {
  if (tracked()) {
    const ObjectId object = known(guard);
    if (object != ObjectId::kNone) once::ran(object, CW_SITE);
  }
  real().abort(guard);
}
