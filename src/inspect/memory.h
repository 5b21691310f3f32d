// Physical memory as a list of segments: the PT_LOADs of a core file, a raw file, the regions of a live machine.
//
//   SegmentMemory memory({{PhysAddr(0x100000), MiB(1), MiB(1), bytes}}, findings);
//   const std::byte* page = memory.at(PhysAddr(0x101000), kPageSize);   // null: no contents there
//
// Lookups are a binary search with the last hit remembered; a reader is used by one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/types.h"
#include "inspect/finding.h"
#include "kho/image.h"
#include "mm/boot_memory.h"

namespace causeway::inspect {

struct Segment {
  PhysAddr base;
  uint64_t ram_bytes = 0;            // that it stands for
  uint64_t content_bytes = 0;        // of them with contents, from the start
  const std::byte* data = nullptr;   // content_bytes
  int fd = -1;                       // the file behind `data`, for its holes; -1: none
  uint64_t fd_offset = 0;
  PhysAddr end() const { return PhysAddr(base.value() + ram_bytes); }
};

class Memory : public kho::PhysReader {
 public:
  // Whether is_ram() is the truth about the machine, or only about what the image holds.
  virtual bool ram_is_known() const = 0;
  virtual uint64_t content_bytes() const = 0;
  // The parts of [base, base + bytes) that have contents, holes of a sparse file left out, ascending. `visit`
  // returns false to stop.
  using Visit = std::function<bool(PhysAddr base, uint64_t bytes)>;
  virtual void for_each_extent(PhysAddr base, uint64_t bytes, const Visit& visit) const = 0;
};

class SegmentMemory : public Memory {
 public:
  // Any segments: those that wrap are left out, overlapping ones cut, both with a finding.
  SegmentMemory(std::vector<Segment> segments, Findings& findings);

  // All RAM there is, if something says so. Ranges that wrap are left out.
  void set_ram(std::vector<mm::MemRange> ram);

  const std::byte* at(PhysAddr address, uint64_t size) const override;
  bool is_ram(PhysAddr address, uint64_t size) const override;
  bool ram_is_known() const override { return ram_known_; }
  uint64_t content_bytes() const override { return content_bytes_; }
  void for_each_extent(PhysAddr base, uint64_t bytes, const Visit& visit) const override;
  // Ascending, disjoint, each with contents from end to end.
  const std::vector<Segment>& segments() const { return segments_; }

 private:
  const Segment* find(PhysAddr address) const;

  std::vector<Segment> segments_;
  std::vector<mm::MemRange> ram_;  // ascending, disjoint, not touching
  bool ram_known_ = false;
  uint64_t content_bytes_ = 0;
  mutable size_t last_ = 0;
  mutable size_t last_ram_ = 0;
};

}  // namespace causeway::inspect
