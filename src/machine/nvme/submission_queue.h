// A submission queue: a ring in a driver's memory, and the thread that fetches its commands, has them
// executed and posts what came of them.
//
//   SubmissionQueue sq(1, host, executor, {regions, translation, bdf}, {.shuffle = true});
//   sq.start();
//   sq.create(base, 64, cq);
//   sq.set_tail(3, &why);       // doorbell, bus thread: wakes the thread
//
// As in the DMA engine, the thread holds the mutex while it serves, and whoever else wants it asks for
// attention first; a doorbell never waits. A fetched command is kept until its completion is posted, so
// nothing is lost when the bus goes away or the completion queue is full.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

#include "machine/nvme/completion_queue.h"
#include "machine/nvme/executor.h"

namespace causeway::machine::nvme {

class SubmissionQueue {
 public:
  struct Bus {
    RegionMap& regions;
    TranslationSource& translation;
    Bdf requester;
  };
  // How commands are delayed and reordered: each takes at least `latency_ns`; with `shuffle` a random
  // multiple of it up to twice, and any command that is due comes next.
  struct Behaviour {
    bool shuffle = false;
    uint64_t latency_ns = 0;
  };
  SubmissionQueue(unsigned number, Host& host, Executor& executor, const Bus& bus,
                  const Behaviour& behaviour);
  ~SubmissionQueue();
  SubmissionQueue(const SubmissionQueue&) = delete;
  SubmissionQueue& operator=(const SubmissionQueue&) = delete;

  void start();
  void stop();  // idempotent

  // From the bus thread or the thread of the admin queue; they return when the queue's thread has left what
  // it did.
  void create(uint64_t base, uint32_t entries, CompletionQueue& completions);
  // What has been fetched is completed as aborted.
  void remove();
  // Everything is forgotten, silently.
  void reset();
  // False: no such command is in the controller's hands.
  bool abort(uint16_t cid);
  bool exists() const { return entries_.get() != 0; }
  // Where its completions go; null: it does not exist. Not while it is being created or removed.
  const CompletionQueue* completions() const { return completions_.load(std::memory_order_acquire); }

  // Doorbell, bus thread. False: beyond the ring, or back.
  bool set_tail(uint64_t value, const char** why);
  void ring_bell();
  void set_bus_master(bool on);
  DmaPort& port() { return port_; }

  struct Totals {
    uint64_t completed = 0;
    uint64_t errors = 0;   // statuses other than success
    uint64_t refused = 0;  // of them: a DMA that was refused
    uint32_t in_flight = 0;
  };
  Totals totals() const;

 private:
  // When serve() wants to be called again.
  static constexpr uint64_t kNow = 0;
  static constexpr uint64_t kBell = ~uint64_t{0};

  struct InFlight {
    hw::nvme::Command command;
    uint64_t due = 0;  // CLOCK_MONOTONIC ns
    bool has_ended = false;
    uint8_t posts = 1;  // completions it still gets
    hw::nvme::Completion completion{};
  };
  void run();
  uint64_t serve();
  uint64_t wait_for_work(uint64_t at, uint32_t bell, uint64_t spin_ns);
  bool is_runnable() const { return exists() && host_.is_running() && port_.bus_master(); }
  // False: the ring was refused.
  bool fetch();
  uint64_t due_time();
  // The command to go on with; end: none is due.
  std::deque<InFlight>::iterator choose(uint64_t now);
  void end(InFlight& command, hw::nvme::Status status, uint32_t result);
  void forget_locked();
  void drop(std::deque<InFlight>::iterator command);
  template <typename Change>
  auto with_attention(const Change& change);
  bool attention() const { return attention_.load(std::memory_order_relaxed) != 0; }

  const unsigned number_;
  Host& host_;
  Executor& executor_;
  const Behaviour behaviour_;
  RegisterPage page_;
  DmaPort port_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> attention_{0};
  std::atomic<uint32_t> bell_{0};
  std::atomic<uint32_t> sleeps_{0};

  std::mutex mutex_;
  Counter<uint64_t> base_;
  Counter<uint32_t> entries_, tail_, head_, cqid_;
  Counter<uint32_t> in_flight_count_;
  Counter<uint64_t> completed_;
  std::atomic<CompletionQueue*> completions_{nullptr};
  std::deque<InFlight> in_flight_;
  std::minstd_rand random_;
  std::atomic<uint64_t> total_completed_{0}, total_errors_{0}, total_refused_{0};
};

}  // namespace causeway::machine::nvme
