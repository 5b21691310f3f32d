// For tests of the driver's registers and queue: a unit that does nothing but answer, and can be told not to.
//
//   FakeUnit unit({.cap = ..., .ecap = ...});
//   auto regs = must(UnitRegisters::create(unit.window(), "dmar0"));
//   unit.hold(true);                    // the queue stands still; descriptors pile up
//   unit.deaf = GlobalTranslation::kMask;   // this command is never carried out
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/mapping.h"
#include "base/testing/results.h"
#include "hw/bus.h"
#include "hw/futex.h"
#include "hw/shared_words.h"
#include "hw/vtd.h"
#include "kho/testing/test_machine.h"
#include "platform/mmio.h"

namespace causeway::iommu::vtd::testing {

class FakeUnit {
 public:
  struct Config {
    uint64_t cap = hw::vtd::CapFaultOffset::make(hw::vtd::kFaultRecordOffset / 16) | hw::vtd::CapFaultRecords::make(3) |
                   hw::vtd::CapPageSelective::make(1) | hw::vtd::CapMaxAddressMask::make(18) |
                   hw::vtd::CapAgaw::make(4);
    uint64_t ecap = hw::vtd::EcapIotlbOffset::make(hw::vtd::kIotlbOffset / 16) | hw::vtd::EcapCoherent::make(1) |
                    hw::vtd::EcapQueuedInvalidation::make(1);
  };
  explicit FakeUnit(const kho::TestMachine& ram) : FakeUnit(ram, Config{}) {}
  FakeUnit(const kho::TestMachine& ram, Config config)
      : ram_(ram), bus_(must(Mapping::sparse(hw::kBusSize))), mmio_(bus_.data()) {
    store<uint64_t>(hw::vtd::kCap, config.cap);
    store<uint64_t>(hw::vtd::kEcap, config.ecap);
    thread_ = std::thread([this] { run(); });
  }
  ~FakeUnit() {
    end_ = true;
    thread_.join();
  }

  platform::MmioWindow window() { return mmio_.window(hw::kIommuBase, hw::vtd::kRegisterBytes); }
  void hold(bool on) { held_ = on; }
  // What the queue has carried out, waits not counted.
  std::vector<hw::vtd::WideDescriptor> done() {
    std::lock_guard lock(mutex_);
    return done_;
  }
  unsigned fetched() const { return fetched_; }  // descriptors, waits counted

  std::atomic<uint32_t> deaf{0};        // bits of commands that are not carried out
  std::atomic<uint16_t> silent_device{0};  // its device-TLB does not answer
  std::function<void(uint32_t offset, uint64_t value)> on_write;  // before the first write

  template <typename T>
  T load(uint32_t offset) {
    return std::atomic_ref(*bus_.at<T>(hw::kIommuWindow + offset)).load();
  }
  template <typename T>
  void store(uint32_t offset, T value) {
    std::atomic_ref(*bus_.at<T>(hw::kIommuWindow + offset)).store(value);
  }

 private:
  void run() {
    auto& ring = *bus_.at<hw::RequestRing>(hw::kRequestRing);
    while (!end_) {
      uint32_t head = ring.head.load();
      if (head != ring.tail.load()) {
        const hw::Request& slot = ring.slot[head % hw::kRequestSlots];
        hw::Request request = hw::load_words(&slot);
        write(static_cast<uint32_t>(request.address - hw::kIommuBase.value()), request.value, request.width);
        ring.head.store(head + 1);
        if (ring.kernel_sleeps.load() != 0) hw::futex_wake(ring.head);
      } else {
        std::this_thread::yield();
      }
      step();
    }
  }

  void write(uint32_t offset, uint64_t value, uint32_t width) {
    using namespace hw::vtd;
    if (on_write) on_write(offset, value);
    if (offset == kGlobalCommand) {
      auto command = static_cast<uint32_t>(value);
      uint32_t old = load<uint32_t>(kGlobalStatus);
      uint32_t status =
          (command & ~static_cast<uint32_t>(GlobalWriteBufferFlush::kMask)) | (old & GlobalSetRoot::kMask);
      store(kGlobalStatus, (status & ~deaf) | (old & deaf));
      if ((status & ~old & GlobalQueue::kMask) != 0) store<uint64_t>(kQueueHead, 0);
    } else if (offset == kFaultStatus || offset == kPageRequestStatus) {
      store(offset, load<uint32_t>(offset) & ~static_cast<uint32_t>(value));
    } else if (offset == kContextCommand) {
      store(kContextCommand, value & ~ContextCommandStart::kMask);
    } else if (offset == kIotlbOffset + 8) {
      store(offset, (value & ~IotlbStart::kMask) | IotlbActual::make(IotlbGranularity::get(value)));
    } else if (width == 8) {
      store(offset, value);
    } else {
      store(offset, static_cast<uint32_t>(value));
    }
  }

  // One descriptor.
  void step() {
    using namespace hw::vtd;
    constexpr uint32_t kStopped = FaultQueueError::kMask | FaultTimeoutError::kMask;
    if (held_ || (load<uint32_t>(kGlobalStatus) & GlobalQueue::kMask) == 0 ||
        (load<uint32_t>(kFaultStatus) & kStopped) != 0)
      return;
    uint64_t head = load<uint64_t>(kQueueHead), address = load<uint64_t>(kQueueAddress);
    if (head == load<uint64_t>(kQueueTail)) return;
    unsigned bytes = QueueWide::get(address) != 0 ? 32 : 16;
    WideDescriptor descriptor{};
    for (unsigned i = 0; i < bytes / 8; ++i)
      descriptor.w[i] = std::atomic_ref(*ram_.at<uint64_t>(PhysAddr((address & kAddressMask) + head + i * 8))).load();
    uint64_t type = DescriptorType::get(descriptor.w[0]);
    if (type == 0 || type > kPageGroupResponse) {
      store<uint64_t>(kQueueError, QueueErrorReason::make(kQueueErrorType));
      store(kFaultStatus, load<uint32_t>(kFaultStatus) | static_cast<uint32_t>(FaultQueueError::kMask));
      return;
    }
    ++fetched_;
    store(kQueueHead, (head + bytes) % (256 * bytes));
    if (type == kDeviceTlb && DeviceTlbSource::get(descriptor.w[0]) == silent_device) {
      waiting_for_device_ = true;
    } else if (type != kWait) {
      std::lock_guard lock(mutex_);
      done_.push_back(descriptor);
    } else if (waiting_for_device_) {
      waiting_for_device_ = false;
      store<uint64_t>(kQueueError, QueueErrorTimeoutSource::make(silent_device));
      store(kFaultStatus, load<uint32_t>(kFaultStatus) | static_cast<uint32_t>(FaultTimeoutError::kMask));
    } else if (WaitStatusWrite::get(descriptor.w[0]) != 0) {
      std::atomic_ref(*ram_.at<uint32_t>(PhysAddr(descriptor.w[1])))
          .store(static_cast<uint32_t>(WaitData::get(descriptor.w[0])));
    }
  }

  const kho::TestMachine& ram_;
  Mapping bus_;
  platform::Mmio mmio_;
  std::atomic<bool> end_{false}, held_{false};
  std::atomic<unsigned> fetched_{0};
  bool waiting_for_device_ = false;
  std::mutex mutex_;
  std::vector<hw::vtd::WideDescriptor> done_;
  std::thread thread_;
};

}  // namespace causeway::iommu::vtd::testing
