#include "dma/debug/init_tracker.h"

#include <random>

namespace causeway::dma {

namespace {

constexpr uint64_t kWord = sizeof(uint64_t);
constexpr uint64_t kMinRun = 2;

uint64_t make_pattern(uint64_t seed) {
  if (seed == 0) {
    std::random_device entropy;
    seed = uint64_t{entropy()} << 32 | entropy();
  }
  // Never what memory is full of anyway: no byte of it is 0 or all ones.
  std::mt19937_64 random(seed);
  uint64_t pattern = 0;
  for (unsigned i = 0; i < kWord; ++i) pattern = pattern << 8 | (1 + random() % 254);
  return pattern;
}

// The whole words of [phys, phys + size).
struct Words {
  uint64_t* begin = nullptr;
  uint64_t count = 0;
  uint64_t skipped = 0;  // bytes before the first
};

Words words_of(mm::MemMap& map, PhysAddr phys, uint64_t size) {
  uint64_t end = 0;
  if (!checked_add(phys.value(), size, &end) || end > map.end_pfn() << kPageShift) return {};
  uint64_t first = align_up(phys.value(), kWord);
  uint64_t last = align_down(end, kWord);
  if (first >= last) return {};
  auto* begin = map.direct_map().to_virt<uint64_t>(PhysAddr(first));
  return {begin, (last - first) / kWord, first - phys.value()};
}

}  // namespace

InitTracker::InitTracker(mm::MemMap& map, uint64_t seed) : map_(map), pattern_(make_pattern(seed)) {}

void InitTracker::poison(PhysAddr phys, uint64_t size) {
  Words words = words_of(map_, phys, size);
  for (uint64_t i = 0; i < words.count; ++i) words.begin[i] = pattern_;
}

std::optional<InitTracker::Run> InitTracker::scan(PhysAddr phys, uint64_t size) const {
  Words words = words_of(map_, phys, size);
  Run found;
  uint64_t length = 0;
  for (uint64_t i = 0; i <= words.count; ++i) {
    // Relaxed atomic: the machine's devices may be writing to the memory around.
    if (i < words.count && __atomic_load_n(words.begin + i, __ATOMIC_RELAXED) == pattern_) {
      ++length;
      continue;
    }
    if (length >= kMinRun) {
      if (found.runs++ == 0) found.offset = words.skipped + (i - length) * kWord;
      found.words += length;
    }
    length = 0;
  }
  if (found.runs == 0) return std::nullopt;
  return found;
}

}  // namespace causeway::dma
