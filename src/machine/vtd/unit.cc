#include "machine/vtd/unit.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "hw/address_map.h"
#include "machine/vtd/port.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

namespace {

constexpr uint8_t kIdentityShift = 30;

Leaf identity_leaf(uint64_t address) {
  Leaf leaf;
  leaf.shift = kIdentityShift;
  leaf.read = leaf.write = true;
  leaf.start = leaf.base = address >> kIdentityShift << kIdentityShift;
  return leaf;
}

bool is_reserved_bit(uint8_t reason) {
  return reason == kRootReservedBits || reason == kContextReservedBits || reason == kEntryReservedBits ||
         reason == kScalableRootReserved || reason == kScalableContextReserved ||
         reason == kPasidDirectoryReservedBits || reason == kPasidEntryReserved || reason == kFirstStageReserved ||
         reason == kSecondStageReserved;
}

}  // namespace

void Unit::add_port(Port& port) {
  std::lock_guard lock(ports_mutex_);
  ports_.push_back(&port);
}

void Unit::remove_port(Port& port) {
  std::lock_guard lock(ports_mutex_);
  gone_translations_ += port.translations();
  gone_hits_ += port.hits();
  std::erase(ports_, &port);
}

Binding Unit::read_binding(const TableMemory& memory, uint64_t root, Bdf requester,
                           std::optional<uint32_t> pasid) const {
  if (RootScalable::get(root) != 0)
    return read_pasid(memory, traits_, read_context(memory, traits_, root, requester), pasid);
  if (pasid) {
    Binding binding;
    binding.reason = kPasidInLegacyMode;
    return binding;
  }
  return read_legacy(memory, traits_, root, requester);
}

// A structure that is not present is remembered only in caching mode.
Binding Unit::find_binding_locked(Bdf requester, std::optional<uint32_t> pasid) {
  if (const Binding* known = caches_.find(requester, pasid)) {
    if (!scalable()) return *known;
    // The context's own rights hold for every PASID behind it.
    if (caches_.find_context(requester) != nullptr) return *known;
  }
  Binding binding;
  if (scalable()) {
    const ScalableContext context = find_context_locked(requester);
    const Binding* known = context.reason == 0 ? caches_.find(requester, pasid) : nullptr;
    if (known != nullptr) return *known;
    binding = read_pasid(memory_, traits_, context, pasid);
    if (context.reason != 0) return binding;
  } else {
    binding = read_binding(requester, pasid);
  }
  if (binding.reason == 0 || spec_.caching_mode) caches_.insert(requester, pasid, binding);
  return binding;
}

Unit::Answer Unit::refuse_locked(const Question& question, uint8_t reason, bool no_record) {
  if (is_reserved_bit(reason)) report_locked(ReportKind::kReservedBit, question, 0, 0);
  // A device that asks ahead learns that there is nothing; that is no fault.
  if (!no_record && !question.ahead)
    log_.record({question.requester, question.pasid, question.address, question.access, reason});
  Answer answer;
  answer.leaf.reason = reason;
  return answer;
}

Unit::Answer Unit::ask(const Question& question) {
  std::lock_guard lock(mutex_);
  if (!enabled()) {
    Answer answer{identity_leaf(question.address), {}, true, epoch()};
    return answer;
  }
  if (question.pasid && question.address >= kInterruptStart.value() && question.address <= kInterruptEnd.value())
    return refuse_locked(question, kInterruptAddress, false);
  const Binding binding = find_binding_locked(question.requester, question.pasid);
  if (binding.reason != 0) return refuse_locked(question, binding.reason, binding.no_record);
  if (question.ahead && !binding.device_tlb)
    return refuse_locked(question, scalable() ? kDeviceTlbDisabled : kContextInvalid, binding.no_record);
  Answer answer;
  answer.epoch = epoch();
  if (binding.pass_through) {
    answer.pass_through = true;
    answer.leaf = identity_leaf(question.address);
    if (question.address >> hw::kPhysAddrBits != 0)
      return refuse_locked(question, scalable() ? kSecondStageWidth : kBeyondWidth, binding.no_record);
    return answer;
  }
  answer.tag = {binding.domain, binding.pasid};
  answer.leaf = look_up_locked(question, binding);
  if (answer.leaf.reason != 0) return refuse_locked(question, answer.leaf.reason, binding.no_record);
  return answer;
}

Leaf Unit::look_up_locked(const Question& question, const Binding& binding) {
  const Iotlb::Tag tag{binding.domain, binding.pasid};
  const Iotlb::Entry* entry = iotlb_.find(tag, question.address);
  if (entry == nullptr) return fill_locked(question, binding);
  if (entry->leaf.reason != 0) {  // caching mode
    ++hits_;
    return entry->leaf;
  }
  // More permission than it remembers, or a dirty bit to set: the tables decide.
  if (!entry->leaf.allows(question.access)) return fill_locked(question, binding);
  ++hits_;
  if (entry->stage.top != binding.stage.top) {
    report_locked(ReportKind::kDomainIdShared, question, entry->stage.top.value(), binding.stage.top.value());
  } else if (spec_.strict != 0) {
    const Leaf now = fresh(question);
    if (now.reason == 0 && now.target(question.address) != entry->leaf.target(question.address))
      report_locked(ReportKind::kStaleTranslation, question, entry->leaf.target(question.address).value(),
                    now.target(question.address).value());
  }
  return entry->leaf;
}

Leaf Unit::fill_locked(const Question& question, const Binding& binding) {
  ++misses_;
  const Iotlb::Tag tag{binding.domain, binding.pasid};
  LastTable last;
  const LastTable* from = known_table_locked(question, binding);
  const Leaf leaf = walk(memory_, binding.stage, question.address, question.access, Update::kYes, from,
                         from == nullptr ? &last : nullptr);
  if (from == nullptr && last.table != 0) iotlb_.insert_table(tag, question.address, {last, binding.stage, false});
  // Caching mode is of the second stage alone.
  if (leaf.reason == 0 || (spec_.caching_mode && !binding.stage.first))
    iotlb_.insert(tag, {leaf, binding.stage, question.requester, question.pasid});
  return leaf;
}

bool Unit::points_to(uint64_t parent, uint64_t table, bool* elsewhere) const {
  uint64_t entry = 0;
  if (!memory_.load(PhysAddr(parent), &entry)) entry = 0;
  const bool present = (entry & (SecondRead::kMask | SecondWrite::kMask)) != 0;
  const bool same = present && SecondLarge::get(entry) == 0 && (entry & kEntryAddress) == table;
  *elsewhere = present && !same;
  return same;
}

const LastTable* Unit::known_table_locked(const Question& question, const Binding& binding) {
  Iotlb::Table* known = iotlb_.find_table({binding.domain, binding.pasid}, question.address);
  if (known == nullptr || known->stage != binding.stage) return nullptr;
  if (spec_.strict != 0) {
    bool elsewhere = false;
    if (!points_to(known->last.parent, known->last.table, &elsewhere) && (elsewhere || known->kept))
      report_locked(ReportKind::kTableReused, question, known->last.table, 0);
  }
  return &known->last;
}

Leaf Unit::fresh(const TableMemory& memory, uint64_t root, const Question& question) const {
  const Binding binding = read_binding(memory, root, question.requester, question.pasid);
  if (binding.reason != 0) {
    Leaf leaf;
    leaf.reason = binding.reason;
    return leaf;
  }
  if (binding.pass_through) return identity_leaf(question.address);
  return walk(memory, binding.stage, question.address, question.access, Update::kNo);
}

// Nothing else decides how a walk ends but the root, the words on its way and the access; and another access leads to the
// same place or to none.
bool Unit::agrees(const Question& question, const Leaf& used, Agreement& agreement) const {
  const uint64_t root = root_.load(std::memory_order_acquire);
  if (agreement.root == root && memory_.unchanged(agreement.path)) return true;
  const Leaf now = fresh(memory_.recording(agreement.path), root, question);
  agreement.root = root;
  if (now.reason != 0 || now.target(question.address) == used.target(question.address)) return true;
  agreement.path.clear();
  return false;
}

// What legitimate software does cannot be seen as a difference here: it takes an entry away, has it invalidated, which
// needs the lock, and only then puts another one there. So with the lock held, what is cached and what is present
// agree.
void Unit::check(const Question& question, const Answer& used, Agreement& agreement) {
  if (agrees(question, used.leaf, agreement)) return;
  const PhysAddr cached = used.leaf.target(question.address);
  std::lock_guard lock(mutex_);
  if (!enabled()) return;
  const Binding* binding = caches_.find(question.requester, question.pasid);
  if (binding == nullptr || binding->reason != 0 || binding->pass_through != used.pass_through) return;
  if (!used.pass_through) {
    if (binding->domain != used.tag.domain || binding->pasid != used.tag.pasid) return;
    const Iotlb::Entry* entry = iotlb_.find(used.tag, question.address);
    if (entry == nullptr || entry->leaf.reason != 0 || entry->leaf.target(question.address) != cached) return;
  }
  const Leaf again = fresh(question);
  if (again.reason != 0 || again.target(question.address) == cached) return;
  report_locked(ReportKind::kStaleTranslation, question, cached.value(), again.target(question.address).value());
}

void Unit::check_device(const Question& question, const Leaf& used, Agreement& agreement) {
  if (agrees(question, used, agreement)) return;
  const Leaf now = fresh(question);
  const PhysAddr cached = used.target(question.address);
  if (now.reason != 0 || now.target(question.address) == cached) return;
  std::lock_guard lock(mutex_);
  if (enabled())
    report_locked(ReportKind::kStaleTranslation, question, cached.value(), now.target(question.address).value());
}

void Unit::report_locked(ReportKind kind, const Question& question, uint64_t cached, uint64_t tables) {
  std::string text;
  if (reports_.wants_text())
    text = fmt::format("{:02x}:{:02x}.{}{} {:#x}: cached {:#x}, tables {:#x}", question.requester.bus(),
                       question.requester.device(), question.requester.function(),
                       question.pasid ? fmt::format(" pasid {}", *question.pasid) : "", question.address, cached,
                       tables);
  reports_.add(kind, std::move(text));
}

uint64_t Unit::reports() const {
  std::lock_guard lock(mutex_);
  return reports_.total();
}

uint64_t Unit::reports(ReportKind kind) const {
  std::lock_guard lock(mutex_);
  return reports_.count(kind);
}

void Unit::append_status(std::string& text, const std::string& name) const {
  uint64_t translations = 0;
  uint64_t hits = 0;
  {
    std::lock_guard lock(ports_mutex_);
    translations = gone_translations_;
    hits = gone_hits_;
    for (const Port* port : ports_) {
      translations += port->translations();
      hits += port->hits();
    }
  }
  std::lock_guard lock(mutex_);
  auto out = std::back_inserter(text);
  fmt::format_to(out,
                 "{0}.enabled={1}\n{0}.mode={2}\n{0}.translations={3}\n{0}.iotlb_hits={4}\n{0}.iotlb_misses={5}\n",
                 name, enabled() ? 1 : 0, scalable() ? "scalable" : "legacy", translations, hits + hits_, misses_);
  fmt::format_to(out, "{0}.invalidations={1}\n{0}.te_off_transitions={2}\n{0}.faults={3}\n", name, invalidations_,
                 off_transitions_, log_.count());
  for (const auto& [source, count] : log_.count_of()) fmt::format_to(out, "{}.faults.{}={}\n", name, source, count);
  for (size_t i = 0; i < log_.last().size(); ++i) fmt::format_to(out, "{}.fault.{}={}\n", name, i, log_.last()[i]);
  fmt::format_to(out, "{0}.page_requests={1}\n{0}.page_requests_lost={2}\n", name, page_requests_.count(),
                 page_requests_.lost());
  fmt::format_to(out, "{}.reports={}\n", name, reports_.total());
  for (size_t i = 0; i < kReportKinds; ++i) {
    auto kind = static_cast<ReportKind>(i);
    fmt::format_to(out, "{}.{}={}\n", name, name_of(kind), reports_.count(kind));
  }
  for (size_t i = 0; i < reports_.texts().size(); ++i)
    fmt::format_to(out, "{}.report.{}={}\n", name, i, reports_.texts()[i]);
}

}  // namespace causeway::machine::vtd
