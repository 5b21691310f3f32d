// File-lifecycle-bound global object: state that many files share and that lives as long as any of them is
// preserved, such as an IOMMU's tables for VFIO devices. What a subsystem implements.
//
//   class IommuState : public luo::Flb { ... };
//   CW_TRY(orchestrator.register_flb(vfio_handler, iommu_state));
//
// In the old kernel: preserve() before the first file of a linked handler is preserved, unpreserve() after the last
// one was given up. In the next: retrieve() at the first get_incoming() (or before finish(), if nobody asked),
// finish() after the last file of the old kernel was finished. Calls for one FLB never overlap; an FLB
// must not be got or put inside its own calls.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"

namespace causeway::luo {

struct FlbArgs {
  uint64_t data = 0;             // what is handed over; set by preserve()
  std::shared_ptr<void> object;  // the live state; set by preserve() and by retrieve()
};

class Flb {
 public:
  virtual ~Flb() = default;
  virtual const char* compatible() const = 0;  // at most 47 bytes, and for ever the same

  virtual Status preserve(FlbArgs& args) = 0;
  virtual void unpreserve(FlbArgs& args) = 0;
  // Sees args.data. Called at most once; what it fails with is what every later attempt gets.
  virtual Status retrieve(FlbArgs& args) = 0;
  virtual void finish(FlbArgs& args) = 0;
};

}  // namespace causeway::luo
