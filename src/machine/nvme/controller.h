// The model of the NVMe controller of hw/nvme.h: a PCI function with an admin queue, I/O queue pairs with a
// thread for each submission queue, one namespace and a controller memory buffer that other devices reach
// through BAR 0.
//
//   auto backing = CW_TRY(nvme::Backing::open(spec.nvme));
//   NvmeController disk("nvme0", spec, std::move(backing), bar_base, false, environment);
//   bus.attach(disk);
//   disk.start();
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "machine/bus_memory.h"
#include "machine/complaints.h"
#include "machine/device_spec.h"
#include "machine/nvme/admin_executor.h"
#include "machine/nvme/io_executor.h"
#include "machine/pci_function.h"

namespace causeway::machine {

class NvmeController final : public PciFunction, private nvme::Host {
 public:
  // What it is built into; outlives it.
  struct Environment {
    const BusMemory& bus;
    InterruptSink& interrupts;
    RegionMap& regions;
    TranslationSource& translation;
    FaultInjector& faults;
  };
  NvmeController(std::string name, const DeviceSpec& spec, std::unique_ptr<nvme::Backing> backing,
                 PhysAddr bar_base, bool multi_function, const Environment& environment);
  ~NvmeController() override { stop(); }

  // Bytes of BAR 0: the registers, and as much again for the buffer. The buffer starts in the middle.
  static uint64_t bar_bytes(const NvmeOptions& options);

  void start() override;
  void stop() override;
  bool write_bar(uint32_t offset, uint32_t width, uint64_t value, const char** why) override;
  uint64_t read_bar(uint32_t offset, uint32_t width) override;
  void append_status(std::string& text, const std::string& name) const override;

 private:
  void on_bus_master(bool on) override;
  void on_ats(bool on) override;
  void on_decodes_memory(bool on) override;

  bool is_running() const override;
  void stop_fatally(hw::nvme::FatalReason reason, unsigned queue, const std::string& why) override;
  void interrupt(unsigned vector) override;
  FaultInjector& faults() override { return faults_; }
  RegisterPage registers() override { return page_; }
  const std::string& name() const override { return name_; }

  bool write_register(uint32_t offset, uint32_t width, uint64_t value, const char** why);
  bool write_doorbell(uint32_t offset, uint32_t width, uint64_t value, const char** why);
  bool write_buffer(uint32_t offset, uint32_t width, uint64_t value);
  // A register of 64 bits, or a half of it.
  bool write_wide(uint64_t* reg, uint32_t reg_offset, uint32_t offset, uint32_t width, uint64_t value,
                  const char** why);
  bool write_configuration(uint32_t value);
  void enable();
  void reset();
  void update_buffer_registers();
  void set_status(uint32_t bits);

  const std::string name_;
  const NvmeOptions options_;
  const uint32_t buffer_offset_;
  RegisterPage page_;
  std::byte* const buffer_;  // null: none
  RegionMap& regions_;
  FaultInjector& faults_;
  std::unique_ptr<nvme::Backing> backing_;
  // Of the bus thread.
  uint32_t configuration_ = 0, aqa_ = 0;
  uint64_t asq_ = 0, acq_ = 0, cmbmsc_ = 0;
  std::atomic<uint32_t> status_{0};  // CSTS
  std::atomic<uint32_t> interrupt_mask_{0};
  std::atomic<uint64_t> interrupts_raised_{0};
  Counter<uint32_t> epoch_;
  std::vector<std::unique_ptr<nvme::CompletionQueue>> completions_;
  std::unique_ptr<nvme::AdminExecutor> admin_;
  std::vector<std::unique_ptr<nvme::IoExecutor>> io_;
  std::vector<std::unique_ptr<nvme::SubmissionQueue>> submissions_;  // last: its threads use the others
};

}  // namespace causeway::machine
