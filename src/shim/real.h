// The function that a wrapper of ours hides: the next one of its name in the program's search order.
//
//   using Ioctl = int(int, unsigned long, void*);
//   return next<Ioctl, kIoctlName>()(fd, request, argument);       // CW_NEXT(ioctl, Ioctl)(...)
#pragma once

#include <dlfcn.h>

#include <atomic>

#include "shim/message.h"

namespace causeway::shim {

template <typename Function>
Function* find_next(std::atomic<Function*>& found, const char* name) {
  Function* function = found.load(std::memory_order_acquire);
  if (function != nullptr) return function;
  function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  if (function == nullptr) {
    say("this program's C library has no %s; it cannot be served\n", name);
    __builtin_trap();
  }
  found.store(function, std::memory_order_release);
  return function;
}

}  // namespace causeway::shim

#define CW_NEXT(name, Type)                                \
  ([]() -> Type* {                                         \
    static constinit std::atomic<Type*> found{nullptr};    \
    return ::causeway::shim::find_next<Type>(found, #name); \
  }())

// What the shim shows to the program; everything else in it is hidden.
#define CW_INTERPOSE extern "C" __attribute__((visibility("default")))
