// What software must never do, and did: noticed, counted and worded. The unit's lock guards it.
//
//   reports.add(ReportKind::kStaleTranslation, fmt::format(...));
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace causeway::machine::vtd {

enum class ReportKind : uint8_t {
  kStaleTranslation,    // a cached translation was used; the tables have another one
  kDomainIdShared,      // a translation was used that came from other tables with the same domain id
  kTranslationOffLive,  // translation was switched off under a device that masters the bus
  kContextDropped,      // a device that masters the bus and was translated has lost its context
  kTranslationChanged,  // a cached translation differs from the tables when the caches are emptied at once
  kTableReused,         // a table was freed while the unit had been told that none was
  kReservedBit,         // an entry has a bit that must be 0
};
inline constexpr size_t kReportKinds = 7;
const char* name_of(ReportKind kind);

class Reports {
 public:
  static constexpr size_t kKept = 16;
  // False: the text is not needed any more.
  bool wants_text() const { return texts_.size() < kKept; }
  void add(ReportKind kind, std::string text);

  uint64_t total() const { return total_; }
  uint64_t count(ReportKind kind) const { return counts_[static_cast<size_t>(kind)]; }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  uint64_t total_ = 0;
  std::array<uint64_t, kReportKinds> counts_{};
  std::vector<std::string> texts_;
};

}  // namespace causeway::machine::vtd
