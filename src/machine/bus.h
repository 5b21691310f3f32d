// The bus thread: takes requests from the ring of hw/bus.h, in order, to the function or IOMMU they address.
//
//   Bus bus(memory);
//   bus.attach(engine);     // before start()
//   bus.start();
//
// The ring's contents come from a kernel that may be broken or dead: a request that makes no sense is
// logged and ignored, a read of nothing answers all ones, and a tail that covers more than the ring
// has drops everything up to it.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "machine/bus_memory.h"
#include "machine/complaints.h"
#include "machine/pci_function.h"

namespace causeway::machine {

class Bus {
 public:
  explicit Bus(const BusMemory& memory) : ring_(memory.request_ring()) {}
  ~Bus() { stop(); }

  // Before start().
  void attach(PciFunction& function) {
    functions_.push_back(&function);
    attach_registers(function);
  }
  void attach_registers(MmioTarget& target) { targets_.push_back(&target); }
  void start();
  void stop();

  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  uint64_t malformed() const { return complaints_.count(); }

 private:
  void run();
  void apply(const hw::Request& request);
  void write(const hw::Request& request);
  uint64_t read(const hw::Request& request);
  // Spins a little, then sleeps until the tail moves or stop().
  void wait_for_requests();
  void publish_head();
  PciFunction* function_at_ecam(uint64_t offset) const;
  MmioTarget* target_at(PhysAddr address, uint32_t width) const;
  void complain(const hw::Request& request, const char* why);

  hw::RequestRing& ring_;
  std::vector<PciFunction*> functions_;  // with a configuration space
  std::vector<MmioTarget*> targets_;     // with registers
  std::thread thread_;
  std::atomic<bool> stop_{false};
  uint32_t head_ = 0;  // the truth; the ring's is a mirror
  std::atomic<uint64_t> requests_{0};
  Complaints complaints_;
};

}  // namespace causeway::machine
