// What a unit remembers of context and PASID structures. The unit's lock guards it; it never forgets by itself.
//
//   if (const Binding* known = caches.find(requester, pasid)) ...
//   caches.drop_requester(domain, requester, 0);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/types.h"
#include "hw/vtd.h"
#include "machine/vtd/context_walk.h"

namespace causeway::machine::vtd {

class EntryCaches {
 public:
  // Of a requester's context and of its PASID entry; in legacy mode the first holds all, and there is no second.
  struct Key {
    uint16_t source;
    uint32_t pasid;  // kNoPasid: the requester's own space
    auto operator<=>(const Key&) const = default;
  };

  const Binding* find(Bdf requester, std::optional<uint32_t> pasid) const {
    auto found = bindings_.find({requester.value(), pasid.value_or(kNoPasid)});
    return found == bindings_.end() ? nullptr : &found->second;
  }
  void insert(Bdf requester, std::optional<uint32_t> pasid, const Binding& binding) {
    bindings_.insert_or_assign({requester.value(), pasid.value_or(kNoPasid)}, binding);
  }
  const ScalableContext* find_context(Bdf requester) const {
    auto found = contexts_.find(requester.value());
    return found == contexts_.end() ? nullptr : &found->second;
  }
  void insert_context(Bdf requester, const ScalableContext& context) {
    contexts_.insert_or_assign(requester.value(), context);
  }

  // The context cache. In scalable mode a context has no domain of its own, and its PASID entries have a cache of
  // their own: they stay.
  void drop_contexts(bool scalable) {
    contexts_.clear();
    if (!scalable) bindings_.clear();
  }
  void drop_context_domain(bool scalable, uint16_t domain) {
    if (scalable) return contexts_.clear();
    std::erase_if(bindings_, [&](const auto& item) { return item.second.domain == domain; });
  }
  // `mask`: how many low function bits do not count (FM).
  void drop_requester(bool scalable, uint16_t domain, uint16_t source, unsigned mask) {
    auto matches = [&](uint16_t other) { return (other ^ source) >> mask == 0; };
    if (scalable) {
      std::erase_if(contexts_, [&](const auto& item) { return matches(item.first); });
      return;
    }
    std::erase_if(bindings_, [&](const auto& item) {
      return item.second.domain == domain && matches(item.first.source);
    });
  }
  // The PASID cache.
  void drop_pasids() { bindings_.clear(); }
  void drop_pasid_domain(uint16_t domain) {
    std::erase_if(bindings_, [&](const auto& item) { return item.second.domain == domain; });
  }
  // What was not present (caching mode) has no domain that software could name: its PASID is enough.
  void drop_pasid(uint16_t domain, uint32_t pasid) {
    std::erase_if(bindings_, [&](const auto& item) {
      return (item.second.domain == domain || item.second.reason != 0) && number_of(item.first) == pasid;
    });
  }

  template <typename Use>
  void for_each(const Use& use) const {
    for (const auto& [key, binding] : bindings_)
      use(Bdf(key.source), key.pasid == kNoPasid ? std::nullopt : std::optional(key.pasid), binding);
  }

 private:
  // The requester's own space is the one of RID_PASID.
  uint32_t number_of(const Key& key) const {
    if (key.pasid != kNoPasid) return key.pasid;
    auto context = contexts_.find(key.source);
    return context == contexts_.end() ? 0 : context->second.rid_pasid;
  }
  std::map<Key, Binding> bindings_;
  std::unordered_map<uint16_t, ScalableContext> contexts_;
};

}  // namespace causeway::machine::vtd
