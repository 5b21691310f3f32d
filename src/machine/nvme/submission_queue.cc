#include "machine/nvme/submission_queue.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "hw/futex.h"

namespace causeway::machine::nvme {

namespace regs = hw::nvme;
using regs::Status;

namespace {

constexpr unsigned kStepsPerTurn = 64;
constexpr uint32_t kFetchAtOnce = 32;
constexpr size_t kMaxInFlight = regs::kMaxEntries;
// How long a thread looks for more before it sleeps; between the two it learns from how long it had to wait.
constexpr uint64_t kMinSpinNs = 2'000;
constexpr uint64_t kMaxSpinNs = 50'000;

RegisterPage block_of(Host& host, unsigned number) {
  return host.registers().block(regs::cw_queue(number));
}

}  // namespace

SubmissionQueue::SubmissionQueue(unsigned number, Host& host, Executor& executor, const Bus& bus,
                                 const Behaviour& behaviour)
    : number_(number),
      host_(host),
      executor_(executor),
      behaviour_(behaviour),
      page_(block_of(host, number)),
      port_(bus.regions, bus.translation, bus.requester),
      base_(page_, regs::kCwSqBase),
      entries_(page_, regs::kCwSqEntries),
      tail_(page_, regs::kCwSqTail),
      head_(page_, regs::kCwSqHead),
      cqid_(page_, regs::kCwSqCqid),
      in_flight_count_(page_, regs::kCwInFlight),
      completed_(page_, regs::kCwCompleted),
      random_(number + 1) {}

SubmissionQueue::~SubmissionQueue() {
  stop();
}

void SubmissionQueue::start() {
  thread_ = std::thread([this] { run(); });
}

void SubmissionQueue::stop() {
  stop_.store(true);
  attention_.fetch_add(1);
  ring_bell();
  if (thread_.joinable()) thread_.join();
}

void SubmissionQueue::ring_bell() {
  bell_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeps_.load(std::memory_order_seq_cst) != 0) hw::futex_wake(bell_);
}

void SubmissionQueue::run() {
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
  uint64_t spin_ns = kMinSpinNs;
  while (!stop_.load(std::memory_order_relaxed)) {
    uint32_t bell = bell_.load(std::memory_order_seq_cst);
    if (uint32_t wanted = attention_.load(); wanted != 0) {
      hw::futex_wait(attention_, wanted, 1'000'000);
      continue;
    }
    uint64_t at;
    {
      std::lock_guard lock(mutex_);
      at = serve();
    }
    if (at != kNow) spin_ns = wait_for_work(at, bell, spin_ns);
  }
}

// Returns how long to spin the next time.
uint64_t SubmissionQueue::wait_for_work(uint64_t at, uint32_t bell, uint64_t spin_ns) {
  const uint64_t begin = monotonic_ns();
  const uint64_t spin_until = std::min(at, begin + spin_ns);
  uint64_t now = begin;
  while (now < spin_until) {
    for (int i = 0; i < 32; ++i) {
      if (bell_.load(std::memory_order_relaxed) != bell) return spin_ns;
      hw::cpu_relax();
    }
    // Whoever is to ring the bell may be waiting for this very CPU.
    ::sched_yield();
    now = monotonic_ns();
  }
  if (at <= now) return spin_ns;
  sleeps_.store(1, std::memory_order_seq_cst);
  if (bell_.load(std::memory_order_seq_cst) == bell) {
    if (at == kBell) {
      hw::futex_wait(bell_, bell, 1'000'000'000);
    } else {
      hw::futex_wait_until(bell_, bell, at);
    }
  }
  sleeps_.store(0, std::memory_order_relaxed);
  const bool was_short = monotonic_ns() - begin < kMaxSpinNs;
  return was_short ? std::min(spin_ns * 2, kMaxSpinNs) : std::max(spin_ns / 2, kMinSpinNs);
}

uint64_t SubmissionQueue::serve() {
  const bool is_plain = !behaviour_.shuffle && behaviour_.latency_ns == 0;
  for (unsigned i = 0; i < kStepsPerTurn; ++i) {
    if (attention()) return kNow;
    if (!is_runnable()) return kBell;
    if ((!is_plain || in_flight_.empty()) && !fetch()) return kBell;
    if (in_flight_.empty()) return kBell;
    auto chosen = is_plain ? in_flight_.begin() : choose(monotonic_ns());
    if (chosen == in_flight_.end()) {
      return std::min_element(in_flight_.begin(), in_flight_.end(),
                              [](const InFlight& a, const InFlight& b) { return a.due < b.due; })
          ->due;
    }
    InFlight& command = *chosen;
    if (!command.has_ended) {
      CW_POINT("machine.nvme.command.before");
      Answer answer = executor_.execute(command.command, port_, attention_);
      if (answer.kind == Answer::Kind::kLater) return attention() ? kNow : kBell;
      if (answer.kind == Answer::Kind::kHeld) {
        drop(chosen);
        continue;
      }
      end(command, answer.status, answer.result);
      CW_POINT("machine.nvme.command.before_completion");
    }
    while (command.posts != 0) {
      command.completion.sq_head = static_cast<uint16_t>(head_.get());
      if (completions_.load()->post(port_, command.completion) != Posted::kYes) return kBell;
      --command.posts;
    }
    completed_.add(1);
    drop(chosen);
  }
  return kNow;
}

bool SubmissionQueue::fetch() {
  const uint32_t entries = entries_.get();
  while (tail_.get() != head_.get() && in_flight_.size() < kMaxInFlight) {
    const uint32_t tail = tail_.get();
    const uint32_t head = head_.get();
    uint32_t count = std::min((tail > head ? tail : entries) - head, kFetchAtOnce);
    std::array<regs::Command, kFetchAtOnce> commands;
    DmaAddr at = DmaAddr(base_.get()) + uint64_t{head} * sizeof(regs::Command);
    DmaStatus status = port_.read(at, commands.data(), count * sizeof(regs::Command));
    if (status == DmaStatus::kBusMasterOff) return false;
    if (status != DmaStatus::kOk) {
      host_.stop_fatally(regs::FatalReason::kSubmissionRing, number_,
                         fmt::format("submission ring at {}: {}", at, name_of(status)));
      return false;
    }
    for (uint32_t i = 0; i < count; ++i) in_flight_.push_back({.command = commands[i], .due = due_time()});
    in_flight_count_.set(static_cast<uint32_t>(in_flight_.size()));
    host_.registers().add32(regs::kCwTotalInFlight, count);
    head_.set((head + count) % entries);
    CW_POINT("machine.nvme.fetch.after");
    if (!behaviour_.shuffle && behaviour_.latency_ns == 0) break;
  }
  return true;
}

uint64_t SubmissionQueue::due_time() {
  if (behaviour_.latency_ns == 0) return 0;
  uint64_t delay = behaviour_.shuffle ? random_() % (2 * behaviour_.latency_ns) : behaviour_.latency_ns;
  return monotonic_ns() + delay;
}

std::deque<SubmissionQueue::InFlight>::iterator SubmissionQueue::choose(uint64_t now) {
  auto is_due = [now](const InFlight& command) { return command.due <= now; };
  auto first = std::find_if(in_flight_.begin(), in_flight_.end(), is_due);
  if (!behaviour_.shuffle || first == in_flight_.end()) return first;
  // One that has ended waits for a place in the completion queue alone; another choice would lose it nothing,
  // but nor gain anything.
  auto ended =
      std::find_if(first, in_flight_.end(), [](const InFlight& command) { return command.has_ended; });
  if (ended != in_flight_.end()) return ended;
  auto turns = static_cast<uint64_t>(std::count_if(first, in_flight_.end(), is_due));
  auto chosen = first;
  for (uint64_t skip = random_() % turns; skip != 0; --skip)
    chosen = std::find_if(chosen + 1, in_flight_.end(), is_due);
  return chosen;
}

void SubmissionQueue::end(InFlight& command, Status status, uint32_t result) {
  command.has_ended = true;
  command.completion = {};
  command.completion.result = result;
  command.completion.sq_id = static_cast<uint16_t>(number_);
  command.completion.cid = command.command.cid;
  auto word = static_cast<uint16_t>(status);
  command.completion.status =
      static_cast<uint16_t>(regs::StatusCode::make(word & 0xff) | regs::StatusType::make(word >> 8));
  total_completed_.fetch_add(1, std::memory_order_relaxed);
  if (status != Status::kSuccess) total_errors_.fetch_add(1, std::memory_order_relaxed);
  if (status == Status::kDataTransferError) total_refused_.fetch_add(1, std::memory_order_relaxed);
  if (number_ == 0) return;
  if (host_.faults().is_due(hw::control::Fault::kNvmeLoseCompletion)) command.posts = 0;
  if (host_.faults().is_due(hw::control::Fault::kNvmeRepeatCompletion)) command.posts = 2;
}

void SubmissionQueue::drop(std::deque<InFlight>::iterator command) {
  in_flight_.erase(command);
  in_flight_count_.set(static_cast<uint32_t>(in_flight_.size()));
  host_.registers().add32(regs::kCwTotalInFlight, ~uint32_t{0});
}

template <typename Change>
auto SubmissionQueue::with_attention(const Change& change) {
  attention_.fetch_add(1);
  auto result = [&] {
    std::lock_guard lock(mutex_);
    return change();
  }();
  attention_.fetch_sub(1);
  hw::futex_wake(attention_);
  ring_bell();
  return result;
}

void SubmissionQueue::create(uint64_t base, uint32_t entries, CompletionQueue& completions) {
  with_attention([&] {
    base_.set(base);
    tail_.set(0);
    head_.set(0);
    completed_.set(0);
    cqid_.set(completions.number());
    completions_.store(&completions, std::memory_order_release);
    entries_.set(entries);
    return true;
  });
}

void SubmissionQueue::remove() {
  with_attention([&] {
    for (InFlight& command : in_flight_) {
      if (!command.has_ended) end(command, Status::kAbortedBySqDeletion, 0);
      command.completion.sq_head = static_cast<uint16_t>(head_.get());
      // A completion that finds no room is of a command that the driver has given up with its queue.
      for (; command.posts != 0; --command.posts) {
        if (completions_.load()->post(port_, command.completion) != Posted::kYes) break;
      }
    }
    forget_locked();
    return true;
  });
}

void SubmissionQueue::reset() {
  with_attention([&] {
    forget_locked();
    return true;
  });
}

void SubmissionQueue::forget_locked() {
  host_.registers().add32(regs::kCwTotalInFlight, ~static_cast<uint32_t>(in_flight_.size()) + 1);
  in_flight_.clear();
  entries_.set(0);
  completions_.store(nullptr, std::memory_order_release);
  for (auto* counter : {&tail_, &head_, &cqid_, &in_flight_count_}) counter->set(0);
  for (auto* counter : {&base_, &completed_}) counter->set(0);
}

bool SubmissionQueue::abort(uint16_t cid) {
  return with_attention([&] {
    for (InFlight& command : in_flight_) {
      if (command.command.cid != cid || command.has_ended) continue;
      end(command, Status::kAbortRequested, 0);
      command.due = 0;
      return true;
    }
    return false;
  });
}

bool SubmissionQueue::set_tail(uint64_t value, const char** why) {
  const uint32_t entries = entries_.get();
  if (entries == 0) return *why = "there is no such submission queue", false;
  const uint32_t head = head_.get();
  if (value >= entries) return *why = "the submission tail lies beyond the ring", false;
  if ((value + entries - head) % entries < (tail_.get() + entries - head) % entries)
    return *why = "the submission tail goes back", false;
  tail_.set(static_cast<uint32_t>(value));
  ring_bell();
  return true;
}

void SubmissionQueue::set_bus_master(bool on) {
  port_.set_bus_master(on);
  ring_bell();
}

SubmissionQueue::Totals SubmissionQueue::totals() const {
  return {total_completed_.load(std::memory_order_relaxed), total_errors_.load(std::memory_order_relaxed),
          total_refused_.load(std::memory_order_relaxed), in_flight_count_.get()};
}

}  // namespace causeway::machine::nvme
