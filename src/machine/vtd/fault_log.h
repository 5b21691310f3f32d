// The faults a unit has found: its fault records, status and event, and the last of them as text. The unit's lock
// guards it.
//
//   log.record({requester, std::nullopt, address, Access::kRead, kNotPresent});
//   log.write_status(ones);
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"
#include "machine/register_page.h"
#include "machine/translation.h"
#include "machine/vtd/event_registers.h"

namespace causeway::machine::vtd {

struct Fault {
  Bdf requester;
  std::optional<uint32_t> pasid;
  uint64_t address;
  Access access;
  uint8_t reason;
};

class FaultLog {
 public:
  // `page`: the unit's registers.
  FaultLog(RegisterPage page, InterruptSink& interrupts, unsigned records);

  void record(const Fault& fault);
  // An error of the invalidation queue or of page requests: one bit of the fault status register.
  void raise_error(uint64_t bit);
  uint32_t status() const { return status_; }

  void write_status(uint32_t ones);
  void write_event(uint32_t offset, uint32_t value) { event_.write(offset, value); }
  // The high word of record `index`.
  void write_record(unsigned index, uint32_t high);

  uint64_t count() const { return count_; }
  const std::map<Bdf, uint64_t>& count_of() const { return count_of_; }  // by source
  const std::deque<std::string>& last() const { return last_; }  // at most kKept, oldest first
  static constexpr size_t kKept = 4;

 private:
  void mirror();
  RegisterPage page_;
  EventRegisters event_;
  std::vector<std::array<uint64_t, 2>> records_;
  unsigned next_ = 0;     // the record to be written next
  unsigned oldest_ = 0;   // the oldest that software has not cleared
  uint32_t status_ = 0;
  uint64_t count_ = 0;
  std::map<Bdf, uint64_t> count_of_;
  std::deque<std::string> last_;
};

}  // namespace causeway::machine::vtd
