#include "inspect/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace causeway::inspect {
namespace {

// How much of two overlapping segments is compared, over the whole image.
constexpr uint64_t kCompareBudget = MiB(16);

// The memory that `later` shares with `earlier` is the same in both, as far as it is looked at.
bool agree(const Segment& earlier, const Segment& later, uint64_t& budget) {
  const uint64_t skip = later.base - earlier.base;
  if (skip >= earlier.content_bytes) return true;
  uint64_t shared = std::min(earlier.content_bytes - skip, later.content_bytes);
  if (earlier.data + skip == later.data) return true;
  shared = std::min(shared, budget);
  budget -= shared;
  return std::memcmp(earlier.data + skip, later.data, shared) == 0;
}

// Drops the first `bytes` of it, all of them contents.
void cut_front(Segment& segment, uint64_t bytes) {
  segment.base = PhysAddr(segment.base.value() + bytes);
  segment.ram_bytes -= bytes;
  segment.content_bytes -= bytes;
  segment.data += bytes;
  segment.fd_offset += bytes;
}

std::vector<mm::MemRange> merged(std::vector<mm::MemRange> ranges) {
  std::erase_if(ranges, [](const mm::MemRange& range) {
    uint64_t end = 0;
    return range.size == 0 || !checked_add(range.base.value(), range.size, &end);
  });
  std::sort(ranges.begin(), ranges.end(),
            [](const mm::MemRange& a, const mm::MemRange& b) { return a.base < b.base; });
  std::vector<mm::MemRange> result;
  for (const mm::MemRange& range : ranges) {
    if (!result.empty() && range.base <= result.back().end()) {
      const PhysAddr end = std::max(result.back().end(), range.end());
      result.back().size = end - result.back().base;
    } else {
      result.push_back(range);
    }
  }
  return result;
}

}  // namespace

SegmentMemory::SegmentMemory(std::vector<Segment> segments, Findings& findings) {
  std::erase_if(segments, [&](const Segment& segment) {
    uint64_t end = 0;
    if (checked_add(segment.base.value(), segment.ram_bytes, &end)) return segment.ram_bytes == 0;
    findings.error("file.segment-wraps", segment.base, "a segment of {} bytes goes beyond the last address",
                   segment.ram_bytes);
    return true;
  });
  std::vector<mm::MemRange> ram;
  ram.reserve(segments.size());
  for (Segment& segment : segments) {
    ram.push_back({segment.base, segment.ram_bytes});
    segment.ram_bytes = segment.content_bytes = std::min(segment.content_bytes, segment.ram_bytes);
  }
  ram_ = merged(std::move(ram));

  std::erase_if(segments, [](const Segment& segment) { return segment.content_bytes == 0; });
  std::stable_sort(segments.begin(), segments.end(),
                   [](const Segment& a, const Segment& b) { return a.base < b.base; });
  uint64_t budget = kCompareBudget;
  for (Segment& segment : segments) {
    if (!segments_.empty() && segment.base < segments_.back().end()) {
      const Segment& before = segments_.back();
      if (before.base <= segment.base && !agree(before, segment, budget))
        findings.warning("file.segments-disagree", segment.base,
                         "two segments hold this address, with different contents; the one from {} is used",
                         before.base);
      const uint64_t covered = before.end() - segment.base;
      if (covered >= segment.content_bytes) continue;
      cut_front(segment, covered);
    }
    content_bytes_ += segment.content_bytes;
    if (!segments_.empty()) {
      // Adjacent in memory and in the file: one.
      Segment& before = segments_.back();
      if (before.end() == segment.base && before.fd == segment.fd &&
          before.data + before.content_bytes == segment.data) {
        before.content_bytes += segment.content_bytes;
        before.ram_bytes += segment.ram_bytes;
        continue;
      }
    }
    segments_.push_back(segment);
  }
}

void SegmentMemory::set_ram(std::vector<mm::MemRange> ram) {
  ram_ = merged(std::move(ram));
  ram_known_ = true;
  last_ram_ = 0;
}

const Segment* SegmentMemory::find(PhysAddr address) const {
  if (last_ < segments_.size() && segments_[last_].base <= address && address < segments_[last_].end())
    return &segments_[last_];
  auto after = std::partition_point(segments_.begin(), segments_.end(),
                                    [&](const Segment& segment) { return segment.base <= address; });
  if (after == segments_.begin() || (after - 1)->end() <= address) return nullptr;
  last_ = static_cast<size_t>(after - 1 - segments_.begin());
  return &segments_[last_];
}

const std::byte* SegmentMemory::at(PhysAddr address, uint64_t size) const {
  const Segment* segment = find(address);
  if (segment == nullptr) return nullptr;
  const uint64_t offset = address - segment->base;
  if (size > segment->content_bytes || offset > segment->content_bytes - size) return nullptr;
  return segment->data + offset;
}

bool SegmentMemory::is_ram(PhysAddr address, uint64_t size) const {
  uint64_t end = 0;
  if (size == 0 || !checked_add(address.value(), size, &end)) return false;
  auto holds = [&](const mm::MemRange& range) { return range.base <= address && PhysAddr(end) <= range.end(); };
  if (last_ram_ < ram_.size() && holds(ram_[last_ram_])) return true;
  auto after = std::partition_point(ram_.begin(), ram_.end(),
                                    [&](const mm::MemRange& range) { return range.base <= address; });
  if (after == ram_.begin()) return false;
  last_ram_ = static_cast<size_t>(after - 1 - ram_.begin());
  return holds(ram_[last_ram_]);
}

void SegmentMemory::for_each_extent(PhysAddr base, uint64_t bytes, const Visit& visit) const {
  uint64_t limit = 0;
  if (!checked_add(base.value(), bytes, &limit)) limit = ~uint64_t{0};
  auto segment = std::partition_point(segments_.begin(), segments_.end(),
                                      [&](const Segment& s) { return s.end() <= base; });
  for (; segment != segments_.end() && segment->base.value() < limit; ++segment) {
    uint64_t from = base > segment->base ? base - segment->base : 0;
    const uint64_t to = std::min(segment->content_bytes, limit - segment->base.value());
    while (from < to) {
      uint64_t stop = to;
      if (segment->fd >= 0) {
        const off_t data = ::lseek(segment->fd, static_cast<off_t>(segment->fd_offset + from), SEEK_DATA);
        if (data < 0 && errno == ENXIO) break;
        if (data >= 0) {
          from = std::max(from, static_cast<uint64_t>(data) - segment->fd_offset);
          if (from >= to) break;
          const off_t hole = ::lseek(segment->fd, static_cast<off_t>(segment->fd_offset + from), SEEK_HOLE);
          if (hole > 0) stop = std::min(to, static_cast<uint64_t>(hole) - segment->fd_offset);
          if (stop <= from) stop = to;
        }
      }
      if (!visit(PhysAddr(segment->base.value() + from), stop - from)) return;
      from = stop;
    }
  }
}

}  // namespace causeway::inspect
