#include "mm/boot_memory.h"

#include <algorithm>

#include "base/log.h"
#include "base/point.h"

namespace causeway::mm {
namespace {

using Range = RangeSet::Range;

Result<Range> to_range(MemRange range) {
  uint64_t end = 0;
  if (!checked_add(range.base.value(), range.size, &end)) {
    log::warn("mm", "boot memory: range at {} of {:#x} bytes wraps", range.base, range.size);
    return fail(EINVAL, "memory range wraps");
  }
  return Range{range.base.value(), end};
}

std::vector<MemRange> to_vector(const RangeSet& set) {
  std::vector<MemRange> result;
  result.reserve(set.ranges().size());
  for (const Range& range : set.ranges()) result.push_back({PhysAddr(range.begin), range.end - range.begin});
  return result;
}

}  // namespace

Status BootMemory::add(MemRange range) {
  memory_.add(CW_TRY(to_range(range)));
  return {};
}

Status BootMemory::add_client(MemRange range) {
  const Range bytes = CW_TRY(to_range(range));
  memory_.add(bytes);
  no_init_.add(bytes);
  client_.add(bytes);
  return {};
}

Status BootMemory::reserve(MemRange range, Reservation kind) {
  CW_FAIL_POINT("mm.boot_memory.reserve");
  list(kind).add(CW_TRY(to_range(range)));
  return {};
}

Status BootMemory::reserve_all(std::span<MemRange> ranges, Reservation kind) {
  for (const MemRange& range : ranges) CW_TRY(to_range(range));
  list(kind).expect(ranges.size());
  for (const MemRange& range : ranges) list(kind).add({range.base.value(), range.end().value()});
  return {};
}

Status BootMemory::release(MemRange range) {
  Range bytes = CW_TRY(to_range(range));
  normal_.remove(bytes);
  no_init_.remove(bytes);
  return {};
}

const Range* BootMemory::first_reserved(Range range) const {
  const Range* normal = normal_.first_overlap(range);
  const Range* no_init = no_init_.first_overlap(range);
  if (normal == nullptr || no_init == nullptr) return normal != nullptr ? normal : no_init;
  return normal->begin <= no_init->begin ? normal : no_init;
}

std::optional<uint64_t> BootMemory::find_gap(Range within, uint64_t size, uint64_t alignment,
                                             Direction direction) const {
  while (within.begin < within.end && within.end - within.begin >= size) {
    uint64_t start = direction == Direction::kTopDown ? align_down(within.end - size, alignment)
                                                      : align_up(within.begin, alignment);
    // The second half catches an align_up() that wrapped.
    if (start < within.begin || start > within.end - size) return std::nullopt;
    const Range* taken = first_reserved({start, start + size});
    if (taken == nullptr) return start;
    if (direction == Direction::kTopDown) {
      within.end = taken->begin;
    } else {
      within.begin = taken->end;
    }
  }
  return std::nullopt;
}

Result<PhysAddr> BootMemory::allocate(uint64_t size, uint64_t alignment, Direction direction,
                                      PhysAddr limit) {
  CW_FAIL_POINT("mm.boot_memory.allocate");
  if (size == 0) return fail(EINVAL, "boot memory of size 0");
  if (!is_power_of_two(alignment)) return fail(EINVAL, "boot memory alignment is not a power of two");

  std::vector<Range> candidates;
  for (const Range& memory : memory_.ranges()) {
    // Address 0 means 'none' in too many places to be worth a page.
    Range clipped{std::max(memory.begin, kPageSize), std::min(memory.end, limit.value())};
    if (!restriction_) {
      candidates.push_back(clipped);
      continue;
    }
    for (const Range& allowed : restriction_->ranges()) {
      candidates.push_back({std::max(clipped.begin, allowed.begin), std::min(clipped.end, allowed.end)});
    }
  }
  if (direction == Direction::kTopDown) std::reverse(candidates.begin(), candidates.end());
  for (const Range& candidate : candidates) {
    if (auto start = find_gap(candidate, size, alignment, direction)) {
      normal_.add({*start, *start + size});
      return PhysAddr(*start);
    }
  }
  log::warn("mm", "boot memory: no {:#x} bytes aligned to {:#x} below {}{}", size, alignment, limit,
            restriction_ ? " in the allowed ranges" : "");
  return fail(ENOMEM, "out of boot memory");
}

void BootMemory::restrict_to(std::vector<MemRange> ranges) {
  restriction_.emplace();
  for (const MemRange& range : ranges) {
    if (auto bytes = to_range(range)) restriction_->add(*bytes);
  }
}

void BootMemory::lift_restriction() {
  restriction_.reset();
}
bool BootMemory::restricted() const {
  return restriction_.has_value();
}

bool BootMemory::is_memory(PhysAddr base, uint64_t size) const {
  uint64_t end = 0;
  return checked_add(base.value(), size, &end) && memory_.contains({base.value(), end});
}

bool BootMemory::is_reserved(PhysAddr base, uint64_t size) const {
  uint64_t end = 0;
  if (!checked_add(base.value(), size, &end)) end = ~uint64_t{0};
  return first_reserved({base.value(), end}) != nullptr;
}

std::vector<MemRange> BootMemory::memory() const {
  return to_vector(memory_);
}
std::vector<MemRange> BootMemory::client() const {
  return to_vector(client_);
}
std::vector<MemRange> BootMemory::reserved(Reservation kind) const {
  return to_vector(list(kind));
}

std::vector<MemRange> BootMemory::free() const {
  std::vector<MemRange> result;
  for_each_free([&](MemRange range) { result.push_back(range); });
  return result;
}

void BootMemory::for_each_free(const std::function<void(MemRange)>& visit) const {
  std::span<const Range> normal = normal_.ranges();
  std::span<const Range> no_init = no_init_.ranges();
  auto emit = [&](uint64_t begin, uint64_t end) {
    begin = align_up(begin, kPageSize);
    end = align_down(end, kPageSize);
    if (begin < end) visit({PhysAddr(begin), end - begin});
  };
  auto next_normal = normal.begin();
  auto next_no_init = no_init.begin();
  for (const Range& memory : memory_.ranges()) {
    uint64_t cursor = memory.begin;
    while (cursor < memory.end) {
      while (next_normal != normal.end() && next_normal->end <= cursor) ++next_normal;
      while (next_no_init != no_init.end() && next_no_init->end <= cursor) ++next_no_init;
      const Range* next = next_normal != normal.end() ? &*next_normal : nullptr;
      if (next_no_init != no_init.end() && (next == nullptr || next_no_init->begin < next->begin)) {
        next = &*next_no_init;
      }
      if (next == nullptr || next->begin >= memory.end) {
        emit(cursor, memory.end);
        break;
      }
      if (next->begin > cursor) emit(cursor, next->begin);
      cursor = next->end;
    }
  }
}

uint64_t BootMemory::reserved_bytes(PhysAddr limit) const {
  uint64_t sum = 0;
  for (const Range& range : normal_.ranges()) {
    if (range.begin < limit.value()) sum += std::min(range.end, limit.value()) - range.begin;
  }
  return sum;
}

}  // namespace causeway::mm
