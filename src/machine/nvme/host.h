// What the queues of a controller need of the controller around them.
#pragma once

#include <string>

#include "hw/nvme.h"
#include "machine/fault_injector.h"
#include "machine/register_page.h"

namespace causeway::machine::nvme {

class Host {
 public:
  virtual ~Host() = default;
  // Enabled and not stopped by a fatal error.
  virtual bool is_running() const = 0;
  // CSTS.CFS: nothing goes on before the next controller reset.
  virtual void stop_fatally(hw::nvme::FatalReason reason, unsigned queue, const std::string& why) = 0;
  // The interrupt of a completion queue. Any thread.
  virtual void interrupt(unsigned vector) = 0;
  virtual FaultInjector& faults() = 0;
  virtual RegisterPage registers() = 0;
  virtual const std::string& name() const = 0;
};

}  // namespace causeway::machine::nvme
