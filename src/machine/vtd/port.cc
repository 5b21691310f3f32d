#include "machine/vtd/port.h"

#include <algorithm>

#include "hw/vtd.h"

namespace causeway::machine::vtd {
namespace {

TranslationPort::Run run_in(const Leaf& leaf, uint64_t address, uint64_t bytes) {
  return {leaf.target(address), std::min(bytes, (uint64_t{1} << leaf.shift) - (address - leaf.start))};
}

}  // namespace

Port::Port(Unit& unit, Bdf requester) : unit_(unit), requester_(requester) {
  unit_.add_port(*this);
}

Port::~Port() {
  unit_.forget_page_request(page_answer_);
  unit_.remove_port(*this);
}

TranslationPort::Run Port::translate(std::optional<uint32_t> pasid, DmaAddr address, uint64_t bytes, Access access) {
  const uint64_t at = address.value();
  // An interrupt: it goes where it says.
  if (!pasid && access == Access::kWrite && at >= hw::vtd::kInterruptStart.value() &&
      at <= hw::vtd::kInterruptEnd.value())
    return {PhysAddr(at), bytes};
  // Before the answer is looked at: what changes after this is drained by whoever changes it.
  const uint64_t epoch = unit_.epoch();
  if (!unit_.enabled()) return {PhysAddr(at), bytes};
  count(translations_);
  const Unit::Question question{requester_, pasid, at, access};
  if (ats_.load(std::memory_order_acquire)) {
    if (Run run = translate_ahead(question, bytes); run.bytes != 0) return run;
  }
  const uint64_t page = at >> kPageShift;
  const uint32_t tag = pasid.value_or(kNoPasid);
  Recent& slot = recent_[(page ^ tag) % kSlots];
  if (slot.answer.epoch == epoch && slot.page == page && slot.pasid == tag && slot.answer.leaf.allows(access)) {
    count(hits_);
    maybe_check(question, slot);
    return run_in(slot.answer.leaf, at, bytes);
  }
  const Unit::Answer answer = unit_.ask(question);
  if (answer.leaf.reason != 0) return {};
  slot.page = page;
  slot.pasid = tag;
  slot.answer = answer;
  slot.agreement.path.clear();
  return run_in(answer.leaf, at, bytes);
}

void Port::request_page(std::optional<uint32_t> pasid, DmaAddr address, Access access) {
  unit_.request_page({requester_, pasid, address.value(), access}, page_answer_);
}

void Port::maybe_check(const Unit::Question& question, Recent& used) {
  if (unit_.strict() == 0 || ++unchecked_ < unit_.strict()) return;
  unchecked_ = 0;
  unit_.check(question, used.answer, used.agreement);
}

// What the device keeps it uses without asking anybody.
TranslationPort::Run Port::translate_ahead(const Unit::Question& question, uint64_t bytes) {
  const DeviceTlbKey key{question.address >> kPageShift, question.pasid.value_or(kNoPasid)};
  uint64_t epoch;
  {
    std::lock_guard lock(device_tlb_mutex_);
    auto kept = device_tlb_.find(key);
    if (kept != device_tlb_.end() && kept->second.leaf.allows(question.access)) {
      Kept& used = kept->second;
      count(hits_);
      // Under the lock that an invalidation needs: what it finds different was not invalidated.
      if (unit_.strict() != 0) {
        if (used.agreement == nullptr) used.agreement = std::make_unique<Unit::Agreement>();
        unit_.check_device(question, used.leaf, *used.agreement);
      }
      return run_in(used.leaf, question.address, bytes);
    }
    epoch = device_tlb_epoch_;
  }
  Unit::Question ahead = question;
  ahead.ahead = true;
  const Unit::Answer answer = unit_.ask(ahead);
  if (answer.leaf.reason != 0) return {};
  std::lock_guard lock(device_tlb_mutex_);
  // An answer that crossed an invalidation on its way is used once and not kept.
  if (device_tlb_epoch_ == epoch) device_tlb_.insert_or_assign(key, Kept{answer.leaf, nullptr});
  return run_in(answer.leaf, question.address, bytes);
}

void Port::set_ats(bool on) {
  std::lock_guard lock(device_tlb_mutex_);
  ++device_tlb_epoch_;
  device_tlb_.clear();
  ats_.store(on, std::memory_order_release);
}

void Port::drop(uint32_t pasid, uint64_t address, unsigned order) {
  std::lock_guard lock(device_tlb_mutex_);
  ++device_tlb_epoch_;
  const uint64_t first = order >= 52 ? 0 : address >> kPageShift >> order << order;
  const uint64_t last = order >= 52 ? ~uint64_t{0} : first + ((uint64_t{1} << order) - 1);
  std::erase_if(device_tlb_, [&](const auto& item) {
    return item.first.pasid == pasid && item.first.page >= first && item.first.page <= last;
  });
}

}  // namespace causeway::machine::vtd
