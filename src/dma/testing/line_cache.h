// For tests: a CPU cache that really holds lines, between the test's CPU and memory. A device that does not look into it
// reads and writes memory alone, so that a forgotten sync shows as wrong bytes.
//
//   LineCache cache(system.map());
//   system.dma().state().cache.set_model(&cache);
//   cache.write(phys, bytes);                  // the CPU; dirty until it is synced or evicted
//   cache.prefetch(phys); cache.evict(phys);   // what a processor may do at any moment
//
// Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>

#include "dma/cache.h"
#include "mm/page.h"

namespace causeway::dma::testing {

class LineCache final : public CacheModel {
 public:
  static constexpr uint64_t kLine = 64;
  explicit LineCache(mm::MemMap& map) : map_(map) {}

  void for_device(PhysAddr phys, uint64_t size, Direction) override {
    if (broken_for_device) return;
    for_lines(phys, size, [this](uint64_t line) {
      if (auto found = lines_.find(line); found != lines_.end()) write_back(*found);
    });
  }
  void for_cpu(PhysAddr phys, uint64_t size, Direction) override {
    if (broken_for_cpu) return;
    for_lines(phys, size, [this](uint64_t line) { lines_.erase(line); });
  }

  void read(PhysAddr phys, std::span<std::byte> to) {
    for (size_t i = 0; i < to.size(); ++i) to[i] = byte_of(fetch(phys + i), phys + i);
  }
  void write(PhysAddr phys, std::span<const std::byte> from) {
    for (size_t i = 0; i < from.size(); ++i) {
      Line& line = fetch(phys + i);
      byte_of(line, phys + i) = from[i];
      line.dirty = true;
    }
  }
  void prefetch(PhysAddr phys) { fetch(phys); }
  void evict(PhysAddr phys) {
    auto found = lines_.find(phys.value() / kLine);
    if (found == lines_.end()) return;
    write_back(*found);
    lines_.erase(found);
  }

  bool broken_for_cpu = false, broken_for_device = false;  // mutants

 private:
  struct Line {
    std::array<std::byte, kLine> bytes;
    bool dirty = false;
  };
  std::byte* memory(uint64_t line) { return map_.direct_map().to_virt(PhysAddr(line * kLine)); }
  static std::byte& byte_of(Line& line, PhysAddr phys) { return line.bytes[phys.value() % kLine]; }

  Line& fetch(PhysAddr phys) {
    auto [found, missed] = lines_.try_emplace(phys.value() / kLine);
    if (missed) std::memcpy(found->second.bytes.data(), memory(found->first), kLine);
    return found->second;
  }
  void write_back(std::pair<const uint64_t, Line>& held) {
    if (held.second.dirty) std::memcpy(memory(held.first), held.second.bytes.data(), kLine);
    held.second.dirty = false;
  }
  template <typename Function>
  void for_lines(PhysAddr phys, uint64_t size, Function function) {
    if (size == 0) return;
    for (uint64_t line = phys.value() / kLine; line <= (phys.value() + size - 1) / kLine; ++line) function(line);
  }

  mm::MemMap& map_;
  std::map<uint64_t, Line> lines_;
};

}  // namespace causeway::dma::testing
