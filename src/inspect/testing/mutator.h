// Damages an image in place, where it hurts, and undoes it again.
//
//   Mutator mutator(bytes, seed);
//   std::span<const std::byte> damaged = mutator.damage();
//   decode(damaged);
//   mutator.undo();
#pragma once

#include <cstring>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "base/types.h"

namespace causeway::inspect {

class Mutator {
 public:
  Mutator(std::vector<std::byte>& bytes, uint64_t seed) : bytes_(bytes), random_(seed) {
    for (uint64_t at = 0; at + 8 <= bytes.size(); at += 8)
      if (word(at) != 0) words_.push_back(at);
  }

  // One to four words changed; now and then the end cut off.
  std::span<const std::byte> damage() {
    for (uint64_t n = 1 + random_() % 4; n > 0; --n) change(place());
    if (random_() % 16 == 0) return std::span(bytes_).first(1 + random_() % bytes_.size());
    return bytes_;
  }
  void undo() {
    for (; !log_.empty(); log_.pop_back()) std::memcpy(bytes_.data() + log_.back().first, &log_.back().second, 8);
  }

 private:
  uint64_t word(uint64_t at) const {
    uint64_t value;
    std::memcpy(&value, bytes_.data() + at, sizeof value);
    return value;
  }
  // Mostly where something is, or just behind it.
  uint64_t place() {
    if (random_() % 8 == 0) return random_() % (bytes_.size() / 8) * 8;
    const uint64_t at = words_[random_() % words_.size()];
    return random_() % 4 == 0 && at + 16 <= bytes_.size() ? at + 8 : at;
  }
  void change(uint64_t at) {
    const uint64_t old = word(at);
    log_.emplace_back(at, old);
    const uint64_t values[] = {old ^ uint64_t{1} << random_() % 64,
                               word(words_[random_() % words_.size()]),  // such as another page's address
                               align_down(word(words_[random_() % words_.size()]), kPageSize),
                               old + 1, old - 1, old + 8, old + kPageSize, old - kPageSize, 0, ~uint64_t{0}, random_(),
                               random_() % 600, random_() % 1024 << kPageShift, uint64_t{1} << random_() % 64};
    const uint64_t value = values[random_() % std::size(values)];
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }

  std::vector<std::byte>& bytes_;
  std::mt19937_64 random_;
  std::vector<uint64_t> words_;
  std::vector<std::pair<uint64_t, uint64_t>> log_;
};

}  // namespace causeway::inspect
