// Memory that is given back takes the locks that lay in it with it: what is made there next is somebody else. Told before the real
// call, since another thread may have the memory right after it.
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "dept/tracker.h"
#include "interpose/bootstrap.h"
#include "interpose/real.h"

CW_DEFINE_REAL(free);
CW_DEFINE_REAL(realloc);
CW_DEFINE_REAL(reallocarray);
CW_DEFINE_REAL(malloc_usable_size);
CW_DEFINE_REAL(munmap);

namespace causeway::interpose {
namespace {

inline void block_freed(void* block) {
  if (block == nullptr || !gate.ready) return;
  dept::Tracker::get().memory_freed(block, CW_REAL(malloc_usable_size)(block));
}

// The loader's own calls, before anything is looked up; and while it is, when that little is not given back.
[[gnu::noinline, gnu::cold]] void free_early(void* block) {
  if (block == nullptr || gate.busy) return;
  gate.busy = true;
  void* const real = real_free.find();
  gate.busy = false;
  if (real != nullptr) reinterpret_cast<decltype(&::free)>(real)(block);
}

}  // namespace
}  // namespace causeway::interpose

using namespace causeway::interpose;

CW_INTERPOSE void free(void* block) noexcept {
  void* const real = real_free.address.load(std::memory_order_relaxed);
  if (__builtin_expect(real == nullptr, 0)) return free_early(block);
  block_freed(block);
  reinterpret_cast<decltype(&::free)>(real)(block);
}

CW_INTERPOSE void* realloc(void* block, size_t size) noexcept {
  const auto real = CW_REAL(realloc);
  block_freed(block);
  return real(block, size);
}

CW_INTERPOSE void* reallocarray(void* block, size_t count, size_t size) noexcept {
  const auto real = CW_REAL(reallocarray);
  block_freed(block);
  return real(block, count, size);
}

CW_INTERPOSE int munmap(void* begin, size_t size) noexcept {
  const auto real = CW_REAL(munmap);
  if (gate.ready) {
    const KeepErrno errno_is_kept;
    causeway::dept::Tracker::get().memory_freed(begin, size);
  }
  return real(begin, size);
}
