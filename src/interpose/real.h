// The function that a wrapper of ours hides: the next one of its name in the program's search order.
//
//   CW_DEFINE_REAL(pthread_mutex_lock);                    // once in a source file, at namespace scope
//   CW_INTERPOSE int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept { return CW_REAL(pthread_mutex_lock)(mutex); }
//
// Found without dlsym(), which allocates, by interpose/symbols.h. All are looked up when the library is initialised; one that
// is called earlier, by another library's constructor or by an allocator, is looked up then. Wrappers are exported without a version, so that references to any version bind to them.
//
// A wrapper's exception specification is that of its header: cancellation points have none, and are unwound through. There are no
// landing pads here (-fno-exceptions): what must be put right on cancellation stands in pthread_cleanup_push(), which
// without exceptions is the C library's own and needs no personality routine.
//
// dlsym() and dlopen() must not be wrapped in the plain way: they look at who calls.
#pragma once

#include <atomic>

namespace causeway::interpose {

struct RealFunction {
  const char* name;
  std::atomic<void*> address;

  void* get() {
    void* function = address.load(std::memory_order_relaxed);  // code: nothing else is published with it
    return __builtin_expect(function != nullptr, 1) ? function : find_or_die();
  }
  // nullptr: this C library has none.
  void* find();

 private:
  void* find_or_die();
};
static_assert(sizeof(RealFunction) == 16);

// Every CW_DEFINE_REAL of the library.
void resolve_all();

}  // namespace causeway::interpose

#define CW_DEFINE_REAL(function)                                                                  \
  [[gnu::section("cw_real"), gnu::used]] alignas(16) static constinit ::causeway::interpose::RealFunction \
      real_##function {                                                                           \
    #function, nullptr                                                                            \
  }
// Where a thread is known to the tracker, all have been looked up.
#define CW_REAL_FOUND(function) (reinterpret_cast<decltype(&::function)>(real_##function.address.load(std::memory_order_relaxed)))
#define CW_REAL(function) (reinterpret_cast<decltype(&::function)>(real_##function.get()))

// What the library shows to the program; everything else in it is hidden.
#define CW_INTERPOSE extern "C" __attribute__((visibility("default")))
