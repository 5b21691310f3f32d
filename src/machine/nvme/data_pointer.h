// Where a command's data are: its PRP entries or SGL, walked into a list of bus address ranges.
//
//   DataPointer data;
//   Walk walk = data.walk(command, 8192, port);
//   if (walk == Walk::done(Status::kSuccess)) for (const Segment& segment : data.segments()) ...
//
// Lists come from a driver that may be broken: whatever they say, a walk ends, and its segments cover exactly
// the bytes asked for or it has failed with the status the command gets.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "hw/nvme.h"
#include "machine/dma_port.h"

namespace causeway::machine::nvme {

struct Segment {
  DmaAddr address;
  uint64_t bytes;
};

// What came of a command; nullopt: nothing yet, the bus is off.
using Outcome = std::optional<hw::nvme::Status>;
// kSuccess, kDataTransferError, nullopt.
Outcome outcome_of(DmaStatus status);

class DataPointer {
 public:
  Outcome walk(const hw::nvme::Command& command, uint64_t bytes, DmaPort& port);
  // Neighbours that continue each other are one segment; valid until the next walk.
  const std::vector<Segment>& segments() const { return segments_; }

 private:
  Outcome walk_prps(const hw::nvme::Command& command, uint64_t bytes, DmaPort& port);
  Outcome walk_sgl(const hw::nvme::Command& command, uint64_t bytes, DmaPort& port);
  Outcome add_block(const hw::nvme::SglDescriptor& descriptor, uint64_t* left);
  void add(uint64_t address, uint64_t bytes);
  std::vector<Segment> segments_;
};

}  // namespace causeway::machine::nvme
