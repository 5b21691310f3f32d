// Copying to and from pages that may cease to exist under the copy.
//
//   if (!guarded_copy([&] { memcpy(to, from, n); })) return DmaStatus::kNoRam;
//
// Hot-added memory belongs to a client, who may shrink his file at any time; a touch beyond its new
// end is SIGBUS, and so is a page the system has no memory for. To a device such a page is no RAM. The
// handler is installed once per process and hands every other SIGBUS to the handler that was there.
#pragma once

#include <setjmp.h>

#include <atomic>

namespace causeway::machine {
namespace detail {
// Where the SIGBUS handler continues on this thread; null: no guarded copy is running.
extern thread_local sigjmp_buf* t_bus_error_target;
void install_bus_error_handler();
// Undoes what the kernel did to the signal mask when it called the handler that never returned.
void restore_signal_mask();
}  // namespace detail

// Runs `copy`, which must not own anything that needs a destructor. False if a page was missing; some
// of the bytes may have been copied then.
template <typename Copy>
[[nodiscard]] [[gnu::noinline]] bool guarded_copy(const Copy& copy) {
  detail::install_bus_error_handler();
  sigjmp_buf target;
  // The mask is not saved here, where it would cost every copy a system call.
  if (sigsetjmp(target, 0) != 0) {
    detail::t_bus_error_target = nullptr;
    detail::restore_signal_mask();
    return false;
  }
  detail::t_bus_error_target = &target;
  // The compiler may not move the copy out from between the two stores.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  copy();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  detail::t_bus_error_target = nullptr;
  return true;
}

}  // namespace causeway::machine
