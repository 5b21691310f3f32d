#include "machine/vtd/line_flushes.h"

#include <atomic>

#include "machine/region_map.h"

namespace causeway::machine {

LineFlushes::~LineFlushes() {
  bind(nullptr);
}

void LineFlushes::bind(RegionMap* regions) {
  std::lock_guard lock(mutex_);
  if (regions_ != nullptr) regions_->unregister_gate(gate_);
  regions_ = regions;
  if (regions_ != nullptr) regions_->register_gate(gate_);
}

void LineFlushes::flushed(PhysAddr at, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  if (regions_ == nullptr || bytes == 0) return;
  Pass pass(gate_);
  for (PhysAddr line = at.aligned_down(kLineBytes); line < at + bytes; line += kLineBytes) {
    RegionMap::Run run = regions_->find(line);
    if (run.data == nullptr) continue;
    Line& copy = lines_[line.value()];
    for (size_t i = 0; i < copy.size(); ++i)
      copy[i] = std::atomic_ref<uint64_t>(reinterpret_cast<uint64_t*>(run.data)[i]).load(std::memory_order_acquire);
  }
}

uint64_t LineFlushes::load(PhysAddr at) const {
  std::lock_guard lock(mutex_);
  auto line = lines_.find(at.aligned_down(kLineBytes).value());
  return line == lines_.end() ? 0 : line->second[at.value() % kLineBytes / 8];
}

void LineFlushes::set_bits(PhysAddr at, uint64_t bits) {
  std::lock_guard lock(mutex_);
  auto line = lines_.find(at.aligned_down(kLineBytes).value());
  if (line != lines_.end()) line->second[at.value() % kLineBytes / 8] |= bits;
}

}  // namespace causeway::machine
