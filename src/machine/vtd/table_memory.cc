#include "machine/vtd/table_memory.h"

#include <atomic>

#include "machine/guarded_copy.h"

namespace causeway::machine::vtd {
namespace {

template <typename T, typename Use>
bool with_word(const RegionMap& regions, PhysAddr at, bool write, const Use& use) {
  RegionMap::Run run = regions.find(at);
  if (run.data == nullptr || run.bytes < sizeof(T) || (write && !run.writable)) return false;
  auto* word = reinterpret_cast<T*>(run.data);
  return guarded_copy([&] { use(std::atomic_ref<T>(*word)); });
}

}  // namespace

bool TableMemory::load(PhysAddr at, uint64_t* word) const {
  if (lines_ == nullptr) {
    const bool there = load_coherent(at, word);
    if (path_ != nullptr) there ? path_->add(at.value(), *word) : path_->spoil();
    return there;
  }
  if (path_ != nullptr) path_->spoil();
  if (regions_.find(at).data == nullptr) return false;
  *word = lines_->load(at);
  return true;
}

bool TableMemory::unchanged(const WalkPath& path) const {
  if (!path.known() || lines_ != nullptr) return false;
  bool same = true;
  // Most often all of it is in one region.
  const bool there = guarded_copy([&] {
    uint64_t base = 0;
    RegionMap::Run run;
    for (const WalkPath::Word& word : path) {
      if (word.address - base + sizeof(uint64_t) > run.bytes) {
        base = word.address;
        run = regions_.find(PhysAddr(base));
        if (run.bytes < sizeof(uint64_t)) {
          same = false;
          return;
        }
      }
      auto* at = reinterpret_cast<uint64_t*>(run.data + (word.address - base));
      same = same && std::atomic_ref<uint64_t>(*at).load(std::memory_order_acquire) == word.value;
    }
  });
  return there && same;
}

bool TableMemory::load_coherent(PhysAddr at, uint64_t* word) const {
  return with_word<uint64_t>(regions_, at, false, [&](auto ref) { *word = ref.load(std::memory_order_acquire); });
}

bool TableMemory::store(PhysAddr at, uint64_t word) const {
  return with_word<uint64_t>(regions_, at, true, [&](auto ref) { ref.store(word, std::memory_order_release); });
}

bool TableMemory::store32(PhysAddr at, uint32_t word) const {
  return with_word<uint32_t>(regions_, at, true, [&](auto ref) { ref.store(word, std::memory_order_release); });
}

bool TableMemory::add_bits(PhysAddr at, uint64_t seen, uint64_t bits) const {
  bool added = false;
  bool there = with_word<uint64_t>(regions_, at, true, [&](auto ref) {
    added = ref.compare_exchange_strong(seen, seen | bits, std::memory_order_acq_rel);
  });
  if (lines_ != nullptr && added) lines_->set_bits(at, bits);
  return there && added;
}

}  // namespace causeway::machine::vtd
