// What a unit without coherent walks sees: memory as it was when software last flushed a cache line of it.
//
//   LineFlushes lines;                                    // a test owns it
//   auto machine = Machine::create({.iommus = {{.coherent = false}}, .line_flushes = &lines});
//   lines.flushed(entry, 8);                              // the kernel under test, where it would execute CLFLUSH
//
// User space cannot flush its caches in a way that a model could observe, so the kernel under test says so here. A
// line that was never flushed reads as zero. Without such an object a unit with coherent=0 only says so in its
// capabilities and reads memory as it is.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "base/types.h"
#include "machine/gate.h"

namespace causeway::machine {

class RegionMap;

class LineFlushes {
 public:
  static constexpr uint64_t kLineBytes = 64;
  LineFlushes() = default;
  ~LineFlushes();
  LineFlushes(const LineFlushes&) = delete;
  LineFlushes& operator=(const LineFlushes&) = delete;

  // Every line of the range now reads as memory does. Any thread, while the machine exists.
  void flushed(PhysAddr at, uint64_t bytes);

  // The machine's: where memory is. Called with null before the map goes away.
  void bind(RegionMap* regions);
  // The word that hardware sees. `at` is aligned to 8.
  uint64_t load(PhysAddr at) const;
  // Hardware's own change of a word.
  void set_bits(PhysAddr at, uint64_t bits);

 private:
  using Line = std::array<uint64_t, kLineBytes / 8>;
  mutable std::mutex mutex_;
  RegionMap* regions_ = nullptr;
  std::unordered_map<uint64_t, Line> lines_;  // by address
  Gate gate_;
};

}  // namespace causeway::machine
