#include "dma/managed.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"

namespace causeway::dma {

ManagedAllocations::~ManagedAllocations() {
  std::vector<Entry> entries = entries_.with([](auto& all) { return std::exchange(all, {}); });
  while (!entries.empty()) {
    // What cannot be freed, because it is preserved, has been logged.
    (void)free_attrs(device_, entries.back().memory, entries.back().attrs);
    entries.pop_back();
  }
}

Result<Coherent> ManagedAllocations::alloc_attrs(uint64_t size, mm::Gfp gfp, Attr attrs) {
  Coherent memory = CW_TRY(dma::alloc_attrs(device_, size, gfp, attrs));
  entries_.with([&](auto& entries) { entries.push_back({memory, attrs}); });
  return memory;
}

Status ManagedAllocations::free_coherent(const Coherent& memory) {
  const char* wrong = "nothing managed has this address";
  std::optional<Entry> found = entries_.with([&](auto& entries) -> std::optional<Entry> {
    auto entry = std::ranges::find(entries, memory.cpu, [](const Entry& e) { return e.memory.cpu; });
    if (entry == entries.end()) return std::nullopt;
    if (entry->memory.size != memory.size || entry->memory.handle != memory.handle) {
      wrong = "its size or handle is another";
      return std::nullopt;
    }
    Entry taken = *entry;
    entries.erase(entry);
    return taken;
  });
  if (!found) {
    log::warn("dma", "{}: {} bytes at {} are not freed: {}", device_.name(), memory.size, memory.handle, wrong);
    return fail(EINVAL, "not a managed allocation");
  }
  Status freed = free_attrs(device_, found->memory, found->attrs);
  if (!freed) entries_.with([&](auto& entries) { entries.push_back(*found); });
  return freed;
}

size_t ManagedAllocations::size() const {
  return entries_.with([](const auto& entries) { return entries.size(); });
}

}  // namespace causeway::dma
