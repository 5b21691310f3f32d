// The model of the DMA engine of hw/dma_engine.h: a PCI function with a work and a stream queue, each
// with a thread of its own, so that a long copy does not delay the stream.
//
//   DmaEngine engine("dma0", {.bdf = Bdf(0, 1, 0)}, bar_base, environment);
//   bus.attach(engine);
//   engine.start();
#pragma once

#include <atomic>
#include <string>

#include "machine/bus_memory.h"
#include "machine/device_spec.h"
#include "machine/dma_engine/stream_queue.h"
#include "machine/dma_engine/work_queue.h"
#include "machine/pci_function.h"

namespace causeway::machine {

class DmaEngine final : public PciFunction, private QueueOwner {
 public:
  // What it is built into; outlives it.
  struct Environment {
    const BusMemory& bus;
    InterruptSink& interrupts;
    RegionMap& regions;
    TranslationSource& translation;
    FaultInjector& faults;
  };
  DmaEngine(std::string name, const DeviceSpec& spec, PhysAddr bar_base, bool multi_function,
            const Environment& environment);
  ~DmaEngine() override { stop(); }

  void start() override;
  void stop() override;
  bool write_bar(uint32_t offset, uint32_t width, uint64_t value, const char** why) override;
  uint64_t read_bar(uint32_t offset, uint32_t width) override;
  void append_status(std::string& text, const std::string& name) const override;
  const std::string& name() const override { return name_; }

 private:
  void on_bus_master(bool on) override;
  void on_ats(bool on) override;
  void on_completions(unsigned queue) override;
  FaultInjector& faults() override { return faults_; }
  RegisterPage registers() override { return page_; }
  void reset();
  void set_address_width(unsigned bits);

  const std::string name_;
  const unsigned power_on_width_;
  RegisterPage page_;
  FaultInjector& faults_;
  std::atomic<uint32_t> control_{0};
  std::atomic<uint32_t> cause_{0};
  Counter<uint32_t> epoch_;
  Counter<uint32_t> address_width_;
  WorkQueue work_;
  StreamQueue stream_;
};

}  // namespace causeway::machine
