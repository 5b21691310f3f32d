#include "machine/vtd/reports.h"

#include <fmt/format.h>

namespace causeway::machine::vtd {

const char* name_of(ReportKind kind) {
  switch (kind) {
    case ReportKind::kStaleTranslation:
      return "stale_translation";
    case ReportKind::kDomainIdShared:
      return "domain_id_shared";
    case ReportKind::kTranslationOffLive:
      return "translation_off_live";
    case ReportKind::kContextDropped:
      return "context_dropped";
    case ReportKind::kTranslationChanged:
      return "translation_changed";
    case ReportKind::kTableReused:
      return "table_reused";
    case ReportKind::kReservedBit:
      return "reserved_bit";
  }
  return "?";
}

void Reports::add(ReportKind kind, std::string text) {
  ++total_;
  ++counts_[static_cast<size_t>(kind)];
  if (texts_.size() < kKept) texts_.push_back(fmt::format("{}: {}", name_of(kind), text));
}

}  // namespace causeway::machine::vtd
