// The words that a walk came by, so that who has found a translation right can see in a few loads that it still is.
//
//   WalkPath path;
//   Leaf now = walk(memory.recording(path), stage, iova, access, Update::kNo);
//   ...
//   if (memory.unchanged(path)) ...          // the same walk would end as it did
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace causeway::machine::vtd {

class WalkPath {
 public:
  struct Word {
    uint64_t address;
    uint64_t value;
  };
  static constexpr size_t kMost = 24;  // root, context, PASID entry and five levels

  void clear() {
    count_ = 0;
    whole_ = true;
  }
  void add(uint64_t address, uint64_t value) {
    for (const Word& word : *this) {
      if (word.address != address) continue;
      // It changed under the walk.
      if (word.value != value) spoil();
      return;
    }
    if (count_ == kMost) return spoil();
    words_[count_++] = {address, value};
  }
  // Not all that counts has been recorded.
  void spoil() { whole_ = false; }
  bool known() const { return whole_ && count_ != 0; }

  const Word* begin() const { return words_.data(); }
  const Word* end() const { return words_.data() + count_; }

 private:
  bool whole_ = true;
  uint8_t count_ = 0;
  std::array<Word, kMost> words_;
};

}  // namespace causeway::machine::vtd
