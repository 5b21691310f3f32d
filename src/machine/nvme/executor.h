// Who executes the commands of a submission queue.
#pragma once

#include <atomic>
#include <cstdint>

#include "hw/nvme.h"
#include "machine/nvme/data_pointer.h"

namespace causeway::machine::nvme {

// What came of a command.
struct Answer {
  enum class Kind : uint8_t {
    kEnded,  // with `status` and `result`
    kLater,  // cut off by the bus or by attention: to be executed again
    kHeld,   // stays outstanding; nothing more comes of it
  };
  Kind kind = Kind::kEnded;
  hw::nvme::Status status = hw::nvme::Status::kSuccess;
  uint32_t result = 0;
};
inline Answer answer(Outcome outcome, uint32_t result = 0) {
  if (!outcome) return {.kind = Answer::Kind::kLater};
  return {.status = *outcome, .result = result};
}

class Executor {
 public:
  virtual ~Executor() = default;
  // On the queue's thread. `attention` rises when it should leave a long command between two of its parts.
  virtual Answer execute(const hw::nvme::Command& command, DmaPort& port,
                         const std::atomic<uint32_t>& attention) = 0;
};

}  // namespace causeway::machine::nvme
