// Describes a command's data to the controller: PRP entries or an SGL, in the page the command's list may take up.
//
//   DataPointer data(rules);
//   for (...) data.add(address, length);       // what the DMA API mapped
//   CW_TRY(data.describe(command, list));      // prp1, prp2 and, if it takes more, the list
//
// PRP entries stand for pages, so they cannot describe a gap inside a page: a piece but the first has to start, and a
// piece but the last has to end, on a page's border. An SGL can, and is shorter when pieces are long; below an average of
// 32 KiB a piece a PRP list is cheaper to fetch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "hw/nvme.h"

namespace causeway::drivers::nvme {

// The page for a list of one command.
struct ListPage {
  void* cpu = nullptr;
  DmaAddr handle;
};

class DataPointer {
 public:
  static constexpr uint64_t kSglThreshold = KiB(32);
  static constexpr uint64_t kMaxPrpBytes = (hw::nvme::kPrpsPerPage - 1) * kPageSize;  // whatever the alignment
  static constexpr size_t kMaxSegments = kPageSize / sizeof(hw::nvme::SglDescriptor);

  explicit DataPointer(bool sgl) : sgl_(sgl) {}
  void clear();
  void add(DmaAddr address, uint64_t length);
  // EINVAL: neither can describe it, or a piece is not 4-byte aligned; E2BIG: more than a list page holds.
  Status describe(hw::nvme::Command& command, const ListPage& list) const;

 private:
  struct Piece {
    uint64_t address;
    uint64_t length;
  };
  bool fits_prp() const;
  Status describe_prp(hw::nvme::Command& command, const ListPage& list) const;
  Status describe_sgl(hw::nvme::Command& command, const ListPage& list) const;
  bool sgl_;
  uint64_t total_ = 0;
  std::vector<Piece> pieces_;
};

}  // namespace causeway::drivers::nvme
