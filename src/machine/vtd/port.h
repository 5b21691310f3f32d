// One bus master's way through a unit: what it was told last, which it may use until the unit's epoch moves, and, while
// ATS is enabled in its device, the translations that the device keeps itself (its device-TLB).
//
//   Port port(unit, bdf);
//   Run run = port.translate(std::nullopt, address, bytes, Access::kRead);   // inside a pass of the master's gate
//
// The first is no cache of the model's: an invalidation of any kind ends it, so it never hides what the unit's own
// caches would show. The second is one: only an invalidation of the device-TLB, or ATS going off, drops what it holds.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "machine/translation.h"
#include "machine/vtd/unit.h"

namespace causeway::machine::vtd {

class Port final : public TranslationPort {
 public:
  Port(Unit& unit, Bdf requester);
  ~Port() override;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  Run translate(std::optional<uint32_t> pasid, DmaAddr address, uint64_t bytes, Access access) override;
  void set_ats(bool on) override;
  void request_page(std::optional<uint32_t> pasid, DmaAddr address, Access access) override;
  PageAnswer page_answer() const override { return page_answer_.load(std::memory_order_acquire); }

  Bdf requester() const { return requester_; }
  // 2^order pages of the device-TLB. Any thread.
  void drop(uint32_t pasid, uint64_t address, unsigned order);
  uint64_t translations() const { return translations_.load(std::memory_order_relaxed); }
  uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }  // that the unit was not asked for

 private:
  static constexpr size_t kSlots = 256;
  struct Recent {
    uint64_t page = ~uint64_t{0};
    uint32_t pasid = kNoPasid;
    Unit::Answer answer;
    Unit::Agreement agreement;
  };
  struct Kept {
    Leaf leaf;
    std::unique_ptr<Unit::Agreement> agreement;  // once it has been compared
  };
  struct DeviceTlbKey {
    uint64_t page;
    uint32_t pasid;
    bool operator==(const DeviceTlbKey&) const = default;
  };
  struct DeviceTlbHash {
    size_t operator()(const DeviceTlbKey& key) const { return key.page * 0x9e3779b97f4a7c15 ^ key.pasid; }
  };
  Run translate_ahead(const Unit::Question& question, uint64_t bytes);
  void maybe_check(const Unit::Question& question, Recent& used);
  void count(std::atomic<uint64_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  Unit& unit_;
  const Bdf requester_;
  std::atomic<uint64_t> translations_{0};
  std::atomic<uint64_t> hits_{0};
  unsigned unchecked_ = 0;
  std::array<Recent, kSlots> recent_{};

  std::atomic<PageAnswer> page_answer_{PageAnswer::kRefused};
  std::atomic<bool> ats_{false};
  std::mutex device_tlb_mutex_;
  uint64_t device_tlb_epoch_ = 0;
  std::unordered_map<DeviceTlbKey, Kept, DeviceTlbHash> device_tlb_;
};

}  // namespace causeway::machine::vtd
