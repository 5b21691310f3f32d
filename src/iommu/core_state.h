// What a core keeps; for its own sources.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "iommu/core.h"
#include "sync/guarded.h"

namespace causeway::iommu {

struct FaultHandlers {
  std::map<unsigned, Core::FaultHandler> handlers;
  unsigned last_token = 0;
};

struct Core::State {
  struct Quarantine {
    std::unique_ptr<Device> device;  // its unit may be null
    std::string reason;
  };
  mutable sync::Mutex mutex{"iommu.core"};
  std::vector<Driver*> drivers CW_GUARDED_BY(mutex);
  std::vector<std::unique_ptr<Group>> groups CW_GUARDED_BY(mutex);
  std::vector<std::unique_ptr<Device>> devices CW_GUARDED_BY(mutex);
  std::vector<Quarantine> quarantined CW_GUARDED_BY(mutex);
  std::string refused CW_GUARDED_BY(mutex);  // why no device is taken any more; empty: they are
  sync::Guarded<FaultHandlers, sync::RwLock> faults{sync::LockName{"iommu.faults"}};
};

}  // namespace causeway::iommu
