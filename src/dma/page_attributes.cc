#include "dma/page_attributes.h"

#include "base/point.h"

namespace causeway::dma {

template <typename Change>
void PageAttributes::change(PfnRange range, Change change) {
  data_.with([&](Data& data) {
    for (Pfn pfn = range.begin; pfn < range.end; ++pfn) {
      Entry& entry = data.pages[pfn];
      change(entry);
      if (!entry.decrypted && entry.policy == CachePolicy::kCached) data.pages.erase(pfn);
    }
  });
}

Status PageAttributes::set_decrypted(PfnRange range) {
  CW_FAIL_POINT("dma.attributes.decrypt");
  mark_decrypted(range);
  return {};
}

Status PageAttributes::set_encrypted(PfnRange range) {
  CW_FAIL_POINT("dma.attributes.encrypt");
  mark_encrypted(range);
  return {};
}

void PageAttributes::mark_decrypted(PfnRange range) {
  change(range, [](Entry& entry) { entry.decrypted = true; });
}

void PageAttributes::mark_encrypted(PfnRange range) {
  change(range, [](Entry& entry) { entry.decrypted = false; });
}

Status PageAttributes::set_policy(PfnRange range, CachePolicy policy) {
  CW_FAIL_POINT("dma.attributes.uncached");
  mark_policy(range, policy);
  return {};
}

void PageAttributes::mark_policy(PfnRange range, CachePolicy policy) {
  change(range, [policy](Entry& entry) { entry.policy = policy; });
}

void PageAttributes::clean_cache(PfnRange range) {
  data_.with([&](Data& data) { data.cleaned += range.pages(); });
}

bool PageAttributes::is_decrypted(Pfn pfn) const {
  return data_.with([&](const Data& data) {
    auto found = data.pages.find(pfn);
    return found != data.pages.end() && found->second.decrypted;
  });
}

CachePolicy PageAttributes::policy(Pfn pfn) const {
  return data_.with([&](const Data& data) {
    auto found = data.pages.find(pfn);
    return found == data.pages.end() ? CachePolicy::kCached : found->second.policy;
  });
}

uint64_t PageAttributes::cleaned_pages() const {
  return data_.with([](const Data& data) { return data.cleaned; });
}

uint64_t PageAttributes::changed_pages() const {
  return data_.with([](const Data& data) { return uint64_t{data.pages.size()}; });
}

}  // namespace causeway::dma
