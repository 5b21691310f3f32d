#include "machine/dma_engine/pace.h"

namespace causeway::machine {

void Pace::start(uint64_t now, uint32_t rate) {
  t0_ = now;
  index_ = 0;
  rate_ = rate;
}

uint64_t Pace::count_due(uint64_t now) const {
  if (now < due()) return 0;
  unsigned __int128 produced = static_cast<unsigned __int128>(now - t0_) * rate_ / 1'000'000'000 + 1;
  auto count = static_cast<uint64_t>(produced) - index_;
  return count > 0 ? count : 1;  // due() rounds down, so it may be met a nanosecond early
}

void Pace::advance(uint64_t records) {
  index_ += records;
  t0_ += index_ / rate_ * 1'000'000'000;
  index_ %= rate_;
}

void Pace::limit_backlog(uint64_t now, uint64_t records) {
  uint64_t due = count_due(now);
  if (due <= records) return;
  delay(static_cast<uint64_t>(static_cast<unsigned __int128>(due - records) * 1'000'000'000 / rate_));
}

}  // namespace causeway::machine
