#include "inspect/finding.h"

namespace causeway::inspect {

const char* name_of(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "?";
}

bool Findings::admit(Severity severity) {
  ++count_[static_cast<size_t>(severity)];
  if (list_.size() < limit_) return true;
  ++dropped_;
  return false;
}

void Findings::append(const Findings& other) {
  for (const Finding& finding : other.list_)
    if (admit(finding.severity)) list_.push_back(finding);
  // What it did not keep counts here as well.
  dropped_ += other.dropped_;
  for (size_t i = 0; i < count_.size(); ++i) {
    uint64_t kept = 0;
    for (const Finding& finding : other.list_) kept += static_cast<size_t>(finding.severity) == i;
    count_[i] += other.count_[i] - kept;
  }
}

}  // namespace causeway::inspect
