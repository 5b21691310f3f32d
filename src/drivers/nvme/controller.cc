#include "drivers/nvme/controller.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"

namespace causeway::drivers::nvme {

namespace reg = hw::nvme;
using hw::nvme::Command;
using hw::nvme::Completion;

namespace {

constexpr uint64_t kReadyTimeoutNs = 5'000'000'000;
constexpr uint64_t kAdminTimeoutNs = 5'000'000'000;
constexpr uint64_t kSpinNs = 50'000;

// A command takes microseconds; who waits longer does so for nothing that a busy loop would hurry.
void pause_since(uint64_t begin_ns) {
  if (monotonic_ns() - begin_ns < kSpinNs) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

}  // namespace

Status Controller::allocate(dma::Device& device) {
  submission_ = CW_TRY(PreservedBuffer::allocate(device, kAdminEntries * sizeof(Command)));
  completion_ = CW_TRY(PreservedBuffer::allocate(device, kAdminEntries * sizeof(Completion)));
  buffer_ = CW_TRY(PreservedBuffer::allocate(device, reg::kIdentifySize));
  return {};
}

Status Controller::preserve(dma::Device& device) {
  for (PreservedBuffer* buffer : {&submission_, &completion_, &buffer_}) CW_TRY(buffer->preserve(device));
  return {};
}

Status Controller::release(dma::Device& device) {
  for (PreservedBuffer* buffer : {&submission_, &completion_, &buffer_}) CW_TRY(buffer->release(device));
  return {};
}

void Controller::hand_over(abi::Handover& handover) const {
  handover.admin_entries = kAdminEntries;
  handover.admin_submission = submission_.token_value();
  handover.admin_completion = completion_.token_value();
  handover.admin_buffer = buffer_.token_value();
}

Status Controller::restore(dma::Device& device, const abi::Handover& handover) {
  submission_ = CW_TRY(PreservedBuffer::restore(device, kAdminEntries * sizeof(Command), handover.admin_submission));
  completion_ = CW_TRY(PreservedBuffer::restore(device, kAdminEntries * sizeof(Completion), handover.admin_completion));
  buffer_ = CW_TRY(PreservedBuffer::restore(device, reg::kIdentifySize, handover.admin_buffer));
  uint32_t csts = regs_.read32(reg::kCsts);
  uint32_t aqa = regs_.read32(reg::kAqa);
  if (reg::CcEn::get(regs_.read32(reg::kCc)) == 0 || reg::CstsRdy::get(csts) == 0 || reg::CstsCfs::get(csts) != 0)
    return fail(EILSEQ, "the controller does not run");
  if (reg::AqaAsqs::get(aqa) != kAdminEntries - 1 || reg::AqaAcqs::get(aqa) != kAdminEntries - 1 ||
      regs_.read64(reg::kAsq) != submission_.memory.handle.value() ||
      regs_.read64(reg::kAcq) != completion_.memory.handle.value())
    return fail(EILSEQ, "the controller does not run with the admin queue that was handed over");
  if (epoch() != handover.epoch) {
    log::error("drivers", "the controller was reset: epoch {}, want {}", epoch(), handover.epoch);
    return fail(EILSEQ, "the controller was reset since it was handed over");
  }
  return settle();
}

// What the predecessor's last admin command was nobody knows any more; it must have ended before the next.
Status Controller::settle() {
  sync::MutexLock lock(mutex_);
  for (uint64_t begin = monotonic_ns(); queue_reg(0, reg::kCwSqHead) != queue_reg(0, reg::kCwSqTail) ||
                                        queue_reg(0, reg::kCwInFlight) != 0;) {
    if (monotonic_ns() - begin > kAdminTimeoutNs) return fail(ETIMEDOUT, "the admin queue does not drain");
    pause_since(begin);
  }
  uint32_t completed = queue_reg(0, reg::kCwCqTail);
  tail_ = queue_reg(0, reg::kCwSqTail);
  head_ = static_cast<uint32_t>(reg::CwCqTailIndex::get(completed));
  phase_ = reg::CwCqTailPhase::get(completed) != 0;
  regs_.write32(reg::cq_doorbell(0), head_);
  return {};
}

Status Controller::wait_ready(bool ready) {
  for (uint64_t begin = monotonic_ns();;) {
    uint32_t csts = regs_.read32(reg::kCsts);
    if (ready && reg::CstsCfs::get(csts) != 0) return fail(EIO, "the controller reports a fatal error");
    if ((reg::CstsRdy::get(csts) != 0) == ready) return {};
    if (monotonic_ns() - begin > kReadyTimeoutNs) return fail(ETIMEDOUT, "the controller does not get ready");
    pause_since(begin);
  }
}

Status Controller::disable() {
  regs_.write32(reg::kCc, 0);
  return wait_ready(false);
}

Status Controller::enable() {
  CW_TRY(disable());
  {
    sync::MutexLock lock(mutex_);
    // Completions of the last life would have the phase of the first ones of this.
    std::memset(completion_.memory.cpu, 0, kAdminEntries * sizeof(Completion));
    tail_ = head_ = 0;
    phase_ = true;
  }
  regs_.write32(reg::kAqa, static_cast<uint32_t>(reg::AqaAsqs::make(kAdminEntries - 1) |
                                                 reg::AqaAcqs::make(kAdminEntries - 1)));
  regs_.write64(reg::kAsq, submission_.memory.handle.value());
  regs_.write64(reg::kAcq, completion_.memory.handle.value());
  regs_.write32(reg::kCc, static_cast<uint32_t>(reg::CcEn::make(1) | reg::CcIosqes::make(6) | reg::CcIocqes::make(4)));
  return wait_ready(true);
}

Status Controller::shut_down() {
  regs_.write32(reg::kCc, static_cast<uint32_t>(reg::CcShn::set(regs_.read32(reg::kCc), 1)));
  for (uint64_t begin = monotonic_ns(); reg::CstsShst::get(regs_.read32(reg::kCsts)) != 2;) {
    if (monotonic_ns() - begin > kReadyTimeoutNs) return fail(ETIMEDOUT, "the controller does not shut down");
    pause_since(begin);
  }
  return disable();
}

Result<uint32_t> Controller::execute(Command command) {
  sync::MutexLock lock(mutex_);
  return execute_locked(command);
}

Result<uint32_t> Controller::execute_locked(Command command) {
  command.cid = next_cid_++;
  submission_.memory.as<Command>()[tail_] = command;
  tail_ = (tail_ + 1) % kAdminEntries;
  CW_POINT("drivers.nvme.admin.before_doorbell");
  regs_.write32(reg::sq_doorbell(0), tail_);
  CW_POINT("drivers.nvme.admin.after_doorbell");
  for (uint64_t begin = monotonic_ns();;) {
    const Completion& slot = completion_.memory.as<Completion>()[head_];
    uint16_t status = load_status(slot);
    if (reg::status_phase(status) == phase_) {
      Completion done = slot;
      if (++head_ == kAdminEntries) {
        head_ = 0;
        phase_ = !phase_;
      }
      regs_.write32(reg::cq_doorbell(0), head_);
      if (done.cid != command.cid) continue;  // one that was given up long ago
      if (reg::status_of(status) == reg::Status::kSuccess) return done.result;
      log::warn("drivers", "admin command {:#x} ended with status {:#x}", command.opcode,
                static_cast<unsigned>(reg::status_of(status)));
      return fail(EIO, "the controller refused an admin command");
    }
    if (monotonic_ns() - begin > kAdminTimeoutNs) return fail(ETIMEDOUT, "an admin command did not complete");
    pause_since(begin);
  }
}

Result<Identity> Controller::identify() {
  sync::MutexLock lock(mutex_);
  auto ask = [&](reg::Cns cns, uint32_t nsid) -> Status {
    Command command{.opcode = reg::admin::kIdentify, .nsid = nsid, .prp1 = buffer_.memory.handle.value()};
    command.cdw10 = static_cast<uint32_t>(cns);
    mutex_.assert_held();
    CW_TRY(execute_locked(command));
    return {};
  };
  Identity identity{};
  CW_TRY(ask(reg::Cns::kController, 0));
  const auto* controller = buffer_.memory.as<reg::IdentifyController>();
  identity.max_transfer = controller->mdts == 0 || controller->mdts > 40 ? ~uint64_t{0} : kPageSize << controller->mdts;
  identity.sgl = reg::SglsSupported::get(controller->sgls) != 0;
  CW_TRY(ask(reg::Cns::kNamespace, reg::kNamespaceId));
  const auto* name_space = buffer_.memory.as<reg::IdentifyNamespace>();
  identity.blocks = name_space->nsze;
  identity.block_log2 = name_space->lbaf[name_space->flbas & 0xf].lbads;
  if (identity.blocks == 0) return fail(ENODEV, "the namespace is empty");
  if (identity.block_log2 < 9 || identity.block_log2 > kPageShift)
    return fail(EINVAL, "the namespace's blocks are not of 512 to 4096 bytes");
  return identity;
}

Result<uint32_t> Controller::request_queues(uint32_t wanted) {
  Command command{.opcode = reg::admin::kSetFeatures};
  command.cdw10 = reg::feature::kNumberOfQueues;
  command.cdw11 = static_cast<uint32_t>(reg::NumberOfSqs::make(wanted - 1) | reg::NumberOfCqs::make(wanted - 1));
  uint32_t granted = CW_TRY(execute(command));
  uint64_t pairs = std::min(reg::NumberOfSqs::get(granted), reg::NumberOfCqs::get(granted)) + 1;
  return static_cast<uint32_t>(std::min<uint64_t>(pairs, wanted));
}

Result<bool> Controller::check_queue(unsigned number, const QueueSetup& setup) const {
  uint32_t sq_entries = queue_reg(number, reg::kCwSqEntries);
  uint32_t cq_entries = queue_reg(number, reg::kCwCqEntries);
  uint32_t vector = queue_reg(number, reg::kCwVector);
  bool cq_agrees = cq_entries == setup.entries && queue_reg64(number, reg::kCwCqBase) == setup.completion.value() &&
                   (reg::CwVectorEnabled::get(vector) != 0) == setup.interrupts &&
                   (!setup.interrupts || reg::CwVectorEntry::get(vector) == number);
  bool sq_agrees = sq_entries == setup.entries && queue_reg64(number, reg::kCwSqBase) == setup.submission.value() &&
                   queue_reg(number, reg::kCwSqCqid) == number;
  if ((cq_entries != 0 && !cq_agrees) || (sq_entries != 0 && !sq_agrees)) {
    log::error("drivers", "queue {} runs with rings {:#x} and {:#x} of {} and {} entries; want {} and {} of {}", number,
               queue_reg64(number, reg::kCwSqBase), queue_reg64(number, reg::kCwCqBase), sq_entries, cq_entries,
               setup.submission, setup.completion, setup.entries);
    return fail(EILSEQ, "the controller does not run with the rings that were handed over");
  }
  return cq_entries != 0 && sq_entries != 0;
}

Status Controller::create_queue(unsigned number, const QueueSetup& setup) {
  if (Result<bool> agrees = check_queue(number, setup); !agrees) return fail(agrees.error());
  if (queue_reg(number, reg::kCwCqEntries) == 0) {
    Command cq{.opcode = reg::admin::kCreateCq, .prp1 = setup.completion.value()};
    cq.cdw10 = static_cast<uint32_t>(reg::QueueId::make(number) | reg::QueueSize::make(setup.entries - 1));
    cq.cdw11 = static_cast<uint32_t>(reg::QueueContiguous::make(1) | reg::CqInterruptEnable::make(setup.interrupts) |
                                     reg::CqVector::make(setup.interrupts ? number : 0));
    CW_TRY(execute(cq));
  }
  CW_POINT("drivers.nvme.create.between_queues");
  if (queue_reg(number, reg::kCwSqEntries) == 0) {
    Command sq{.opcode = reg::admin::kCreateSq, .prp1 = setup.submission.value()};
    sq.cdw10 = static_cast<uint32_t>(reg::QueueId::make(number) | reg::QueueSize::make(setup.entries - 1));
    sq.cdw11 = static_cast<uint32_t>(reg::QueueContiguous::make(1) | reg::SqCqid::make(number));
    CW_TRY(execute(sq));
  }
  return {};
}

Result<bool> Controller::abort(unsigned queue, uint16_t cid) {
  Command command{.opcode = reg::admin::kAbort};
  command.cdw10 = static_cast<uint32_t>(reg::AbortSqid::make(queue) | reg::AbortCid::make(cid));
  return (CW_TRY(execute(command)) & 1) == 0;
}

}  // namespace causeway::drivers::nvme
