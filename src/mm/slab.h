// kmalloc: objects smaller than a page, from slabs of pages, addressable by devices.
//
//   void* p = CW_TRY(slab.kmalloc(192, kGfpKernel));
//   slab.kfree(p);
//
// Size classes are the kernel's: 8 16 32 64 96 128 192 256 512 1k 2k 4k 8k; larger requests are
// pages. Powers of two are naturally aligned. Freeing what is not an object is reported and ignored.
//
// Which objects are in use is kept beside the memory, not in it: a device that writes past its buffer
// damages data, not the allocator, and a double free is noticed.
//
// Thread-safe.
#pragma once

#include <cstddef>
#include <memory>

#include "base/result.h"
#include "mm/page_allocator.h"

namespace causeway::mm {

// The size class kmalloc() uses for `size` (kmalloc_size_roundup): above 8 KiB whole blocks of pages.
// 0 for 0; `size` itself above the largest block.
uint64_t kmalloc_bucket(uint64_t size);

class Slab {
 public:
  explicit Slab(PageAllocator& allocator);
  // Slabs without objects go back to the allocator; those with objects stay allocated.
  ~Slab();
  // Gfp::kDma32 objects come from slabs of their own. ENOMEM; EINVAL for 0, E2BIG above 4 MiB.
  Result<void*> kmalloc(uint64_t size, Gfp gfp);
  void kfree(void* object);                  // null is a no-op
  uint64_t ksize(const void* object) const;  // usable bytes; 0 if not an object
  uint64_t objects() const;                  // allocated now

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::mm
