// What the page tables and the platform say about pages used for DMA: encrypted or shared with the
// host, cached or not. This machine has neither memory encryption nor incoherent caches; the model keeps the
// attributes a kernel would set, so that a forgotten or doubled change is seen.
//
//   CW_TRY(attributes.set_decrypted(range));                // set_memory_decrypted(): may fail
//   attributes.clean_cache(range);                          // arch_dma_prep_coherent()
//   CW_TRY(attributes.set_policy(range, CachePolicy::kUncached));
//
// Every kernel starts with all memory encrypted and cached. Only pages that differ are stored.
// Thread-safe.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/result.h"
#include "base/types.h"
#include "sync/guarded.h"

namespace causeway::dma {

enum class CachePolicy : uint8_t { kCached, kUncached, kWriteCombine };

class PageAttributes {
 public:
  // EIO: the platform refused. The pages are then in an unknown state and must never be used again.
  Status set_decrypted(PfnRange range);
  Status set_encrypted(PfnRange range);
  // For memory that was decrypted long ago, as a pool is: cannot fail.
  void mark_decrypted(PfnRange range);
  void mark_encrypted(PfnRange range);

  // Switches the attributes of the linear mapping (arch_dma_set_uncached()). EIO: unchanged.
  Status set_policy(PfnRange range, CachePolicy policy);
  // The policy of an alias made by somebody else: cannot fail.
  void mark_policy(PfnRange range, CachePolicy policy);

  // Writes back and drops the cache lines of the linear mapping.
  void clean_cache(PfnRange range);

  bool is_decrypted(Pfn pfn) const;
  CachePolicy policy(Pfn pfn) const;
  uint64_t cleaned_pages() const;
  // Pages that are not encrypted and cached; 0 when nothing is allocated.
  uint64_t changed_pages() const;

 private:
  struct Entry {
    bool decrypted = false;
    CachePolicy policy = CachePolicy::kCached;
  };
  struct Data {
    std::unordered_map<Pfn, Entry> pages;
    uint64_t cleaned = 0;
  };
  template <typename Change>
  void change(PfnRange range, Change change);

  sync::Guarded<Data> data_{sync::LockName{"dma.page_attributes"}};
};

}  // namespace causeway::dma
