#include "machine/nvme/admin_executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include "machine/nvme/io_executor.h"

namespace causeway::machine::nvme {

namespace regs = hw::nvme;
namespace admin = hw::nvme::admin;
namespace feature = hw::nvme::feature;
using regs::Status;

namespace {

constexpr unsigned kMaxHeldEvents = 4;
constexpr uint64_t kMaxLogPage = 4096;

template <size_t Size>
void put_text(char (&field)[Size], std::string_view text) {
  std::memset(field, ' ', Size);
  std::memcpy(field, text.data(), std::min(text.size(), Size));
}

Answer failed(Status status) {
  return {.status = status};
}

// What the two commands that make a queue have in common.
Status check_ring(const regs::Command& command, uint32_t* entries) {
  *entries = static_cast<uint32_t>(regs::QueueSize::get(command.cdw10)) + 1;
  if (*entries < 2 || *entries > regs::kMaxEntries) return Status::kInvalidQueueSize;
  if (regs::QueueContiguous::get(command.cdw11) == 0) return Status::kInvalidField;
  if (!is_aligned(command.prp1, kPageSize)) return Status::kPrpOffsetInvalid;
  uint64_t end;
  if (!checked_add(command.prp1, *entries * sizeof(regs::Command), &end)) return Status::kInvalidField;
  return Status::kSuccess;
}

}  // namespace

void AdminExecutor::reset() {
  held_events_ = 0;
  features_ = {};
}

Answer AdminExecutor::execute(const Command& command, DmaPort& port, const std::atomic<uint32_t>&) {
  // Section 4.3: no SGLs for admin commands over PCI Express.
  if (command.flags != 0) return failed(Status::kInvalidField);
  switch (command.opcode) {
    case admin::kDeleteSq:
      return failed(remove_submissions(command));
    case admin::kCreateSq:
      return failed(create_submissions(command));
    case admin::kDeleteCq:
      return failed(remove_completions(command));
    case admin::kCreateCq:
      return failed(create_completions(command));
    case admin::kIdentify:
      return identify(command, port);
    case admin::kGetLogPage:
      return get_log_page(command, port);
    case admin::kAbort:
      return abort(command);
    case admin::kSetFeatures:
      return set_features(command);
    case admin::kGetFeatures:
      return get_features(command);
    case admin::kAsyncEventRequest:
      if (held_events_ == kMaxHeldEvents) return failed(Status::kAsyncEventLimit);
      ++held_events_;
      return {.kind = Answer::Kind::kHeld};
    default:
      return failed(Status::kInvalidOpcode);
  }
}

Answer AdminExecutor::give(const Command& command, const void* from, uint64_t bytes, DmaPort& port) {
  Outcome outcome = data_.walk(command, bytes, port);
  auto* at = static_cast<const std::byte*>(from);
  for (size_t i = 0; outcome == Status::kSuccess && i < data_.segments().size(); ++i) {
    const Segment& segment = data_.segments()[i];
    outcome = outcome_of(port.write(segment.address, at, segment.bytes));
    at += segment.bytes;
  }
  return answer(outcome);
}

Answer AdminExecutor::identify(const Command& command, DmaPort& port) {
  switch (static_cast<regs::Cns>(command.cdw10 & 0xff)) {
    case regs::Cns::kController: {
      regs::IdentifyController data{};
      data.vid = data.ssvid = regs::kVendor;
      put_text(data.sn, parts_.serial);
      put_text(data.mn, "Causeway NVMe controller");
      put_text(data.fr, "1");
      data.mdts = kMdts;
      data.ver = regs::kVersion14;
      data.cntrltype = 1;
      data.aerl = kMaxHeldEvents - 1;
      data.acl = 3;
      data.frmw = 0x3;  // one slot, read-only
      data.sqes = 0x66;
      data.cqes = 0x44;
      data.maxcmd = regs::kMaxEntries;
      data.nn = 1;
      data.oncs = static_cast<uint16_t>(regs::OncsWriteZeroes::make(1));
      data.vwc = parts_.has_write_cache ? 1 : 0;
      data.sgls = static_cast<uint32_t>(regs::SglsSupported::make(1));
      std::string name = fmt::format("nqn.2014-08.org.nvmexpress:causeway:{}", parts_.serial);
      std::memcpy(data.subnqn, name.data(), std::min(name.size(), sizeof data.subnqn - 1));
      data.psd[0].maximum_power = 100;
      return give(command, &data, sizeof data, port);
    }
    case regs::Cns::kNamespace: {
      if (command.nsid == 0 || command.nsid == ~uint32_t{0}) return failed(Status::kInvalidNamespace);
      // A namespace that could be there and is not is all zeros.
      regs::IdentifyNamespace data{};
      if (command.nsid > 1) return failed(Status::kInvalidNamespace);
      data.nsze = data.ncap = data.nuse = parts_.blocks;
      data.lbaf[0].lbads = static_cast<uint8_t>(std::countr_zero(parts_.block_size));
      return give(command, &data, sizeof data, port);
    }
    case regs::Cns::kActiveNamespaces: {
      if (command.nsid >= 0xffff'fffe) return failed(Status::kInvalidNamespace);
      std::array<uint32_t, regs::kIdentifySize / 4> list{};
      if (command.nsid < regs::kNamespaceId) list[0] = regs::kNamespaceId;
      return give(command, list.data(), regs::kIdentifySize, port);
    }
    case regs::Cns::kDescriptors: {
      if (command.nsid != regs::kNamespaceId) return failed(Status::kInvalidNamespace);
      // One identifier: an EUI-64 made of the serial number's characters.
      std::array<uint8_t, regs::kIdentifySize> list{};
      list[0] = 1;
      list[1] = 8;
      for (size_t i = 0; i < std::min<size_t>(8, parts_.serial.size()); ++i)
        list[4 + i] = static_cast<uint8_t>(parts_.serial[parts_.serial.size() - 1 - i]);
      return give(command, list.data(), list.size(), port);
    }
  }
  return failed(Status::kInvalidField);
}

Answer AdminExecutor::get_log_page(const Command& command, DmaPort& port) {
  const uint64_t bytes = ((uint64_t{command.cdw11 & 0xffff} << 16 | command.cdw10 >> 16) + 1) * 4;
  const uint32_t page = command.cdw10 & 0xff;
  if (page < 1 || page > 3) return failed(Status::kInvalidLogPage);
  if (bytes > kMaxLogPage) return failed(Status::kInvalidField);
  // No errors to tell of, and nothing wrong with its health: 300 K, all spares there.
  std::array<uint8_t, kMaxLogPage> log{};
  if (page == 2) {
    log[1] = 300 & 0xff;
    log[2] = 300 >> 8;
    log[3] = 100;
    log[4] = 10;
  }
  return give(command, log.data(), bytes, port);
}

Answer AdminExecutor::set_features(const Command& command) {
  const uint32_t id = command.cdw10 & 0xff;
  if (command.cdw10 >> 31 != 0) return failed(Status::kFeatureNotSaveable);
  switch (id) {
    case feature::kNumberOfQueues: {
      if (regs::NumberOfSqs::get(command.cdw11) == 0xffff || regs::NumberOfCqs::get(command.cdw11) == 0xffff)
        return failed(Status::kInvalidField);
      for (unsigned i = 1; i <= io_queues(); ++i) {
        if (parts_.submissions[i]->exists() || parts_.completions[i]->exists())
          return failed(Status::kCommandSequenceError);
      }
      return get_features(command);
    }
    case feature::kVolatileWriteCache:
      if (!parts_.has_write_cache) return failed(Status::kInvalidField);
      return (command.cdw11 & 1) != 0 ? Answer{} : failed(Status::kFeatureNotChangeable);
    case feature::kArbitration:
    case feature::kPowerManagement:
    case feature::kTemperatureThreshold:
    case feature::kErrorRecovery:
    case feature::kInterruptCoalescing:
    case feature::kInterruptVector:
    case feature::kWriteAtomicity:
    case feature::kAsyncEvents:
      features_[id] = command.cdw11;
      return {};
    default:
      return failed(Status::kInvalidField);
  }
}

Answer AdminExecutor::get_features(const Command& command) const {
  const uint32_t id = command.cdw10 & 0xff;
  switch (id) {
    case feature::kNumberOfQueues:
      return {.result = static_cast<uint32_t>(regs::NumberOfSqs::make(io_queues() - 1) |
                                              regs::NumberOfCqs::make(io_queues() - 1))};
    case feature::kVolatileWriteCache:
      if (!parts_.has_write_cache) return failed(Status::kInvalidField);
      return {.result = 1};
    case feature::kArbitration:
    case feature::kPowerManagement:
    case feature::kTemperatureThreshold:
    case feature::kErrorRecovery:
    case feature::kInterruptCoalescing:
    case feature::kInterruptVector:
    case feature::kWriteAtomicity:
    case feature::kAsyncEvents:
      return {.result = features_[id]};
    default:
      return failed(Status::kInvalidField);
  }
}

Status AdminExecutor::create_completions(const Command& command) {
  const auto number = static_cast<unsigned>(regs::QueueId::get(command.cdw10));
  if (number == 0 || number > io_queues() || parts_.completions[number]->exists())
    return Status::kInvalidQueueId;
  uint32_t entries;
  if (Status status = check_ring(command, &entries); status != Status::kSuccess) return status;
  const auto vector = static_cast<unsigned>(regs::CqVector::get(command.cdw11));
  if (vector >= io_queues() + 1) return Status::kInvalidVector;
  parts_.completions[number]->create({.base = command.prp1,
                                      .entries = entries,
                                      .vector = vector,
                                      .interrupts = regs::CqInterruptEnable::get(command.cdw11) != 0});
  return Status::kSuccess;
}

Status AdminExecutor::create_submissions(const Command& command) {
  const auto number = static_cast<unsigned>(regs::QueueId::get(command.cdw10));
  const auto target = static_cast<unsigned>(regs::SqCqid::get(command.cdw11));
  if (number == 0 || number > io_queues() || parts_.submissions[number]->exists())
    return Status::kInvalidQueueId;
  if (target == 0 || target > io_queues()) return Status::kInvalidQueueId;
  if (!parts_.completions[target]->exists()) return Status::kCompletionQueueInvalid;
  uint32_t entries;
  if (Status status = check_ring(command, &entries); status != Status::kSuccess) return status;
  parts_.submissions[number]->create(command.prp1, entries, *parts_.completions[target]);
  return Status::kSuccess;
}

Status AdminExecutor::remove_completions(const Command& command) {
  const auto number = static_cast<unsigned>(regs::QueueId::get(command.cdw10));
  if (number == 0 || number > io_queues() || !parts_.completions[number]->exists())
    return Status::kInvalidQueueId;
  CompletionQueue& completions = *parts_.completions[number];
  for (const auto& submissions : parts_.submissions) {
    if (submissions->completions() == &completions) return Status::kInvalidQueueDeletion;
  }
  completions.remove();
  return Status::kSuccess;
}

Status AdminExecutor::remove_submissions(const Command& command) {
  const auto number = static_cast<unsigned>(regs::QueueId::get(command.cdw10));
  if (number == 0 || number > io_queues() || !parts_.submissions[number]->exists())
    return Status::kInvalidQueueId;
  parts_.submissions[number]->remove();
  return Status::kSuccess;
}

Answer AdminExecutor::abort(const Command& command) {
  const auto queue = static_cast<unsigned>(regs::AbortSqid::get(command.cdw10));
  const auto cid = static_cast<uint16_t>(regs::AbortCid::get(command.cdw10));
  if (queue > io_queues()) return failed(Status::kInvalidField);
  // Admin commands are executed in order, so none of the same queue is under way beside this one.
  bool aborted = queue != 0 && parts_.submissions[queue]->exists() && parts_.submissions[queue]->abort(cid);
  return {.result = aborted ? 0u : 1u};
}

}  // namespace causeway::machine::nvme
