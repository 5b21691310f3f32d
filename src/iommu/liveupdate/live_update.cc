#include "iommu/liveupdate/live_update.h"

#include "base/log.h"
#include "iommu/liveupdate/live_update_state.h"
#include "sync/guarded.h"

namespace causeway::iommu {

const char* name_of(Carrier carrier) {
  return carrier == Carrier::kStanding ? "standing" : "session";
}

LiveUpdate::LiveUpdate(IommuPages& pages) : pages_(pages), state_(std::make_shared<State>()) {}

// The end of its kernel: what is preserved stays so, and restored domains are not freed, because their hardware goes on, and
// the handover names their tables.
LiveUpdate::~LiveUpdate() {
  static auto& dead = *new sync::Guarded<std::vector<std::unique_ptr<Domain>>>(sync::LockName{"iommu.dead_domains"});
  dead.with([this](auto& domains) {
    for (auto& [ser, restored] : state_->restored)
      if (restored.domain != nullptr) domains.push_back(std::move(restored.domain));
    for (auto& domain : state_->kept) domains.push_back(std::move(domain));
  });
}

std::vector<std::string> LiveUpdate::damage() const {
  sync::MutexLock lock(mutex_);
  return state_->damage;
}

void LiveUpdate::report_damage(std::string text) {
  sync::MutexLock lock(mutex_);
  report_locked(std::move(text));
}

void LiveUpdate::report_locked(std::string text) {
  log::error("iommu", "live update: {}", text);
  state_->damage.push_back(std::move(text));
}

}  // namespace causeway::iommu
