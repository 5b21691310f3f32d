// The commands of the admin queue: identify, features, and the making and removing of I/O queues.
//
//   AdminExecutor admin({.submissions = sqs, .completions = cqs, .namespace_blocks = n, ...});
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "machine/nvme/executor.h"
#include "machine/nvme/submission_queue.h"

namespace causeway::machine::nvme {

class AdminExecutor final : public Executor {
 public:
  // Queues by number, 0 is the admin queue; they outlive the executor's use.
  struct Parts {
    std::vector<std::unique_ptr<SubmissionQueue>>& submissions;
    std::vector<std::unique_ptr<CompletionQueue>>& completions;
    std::string serial;
    uint64_t blocks;
    uint32_t block_size;
    bool has_write_cache;
  };
  explicit AdminExecutor(Parts parts) : parts_(std::move(parts)) {}

  Answer execute(const hw::nvme::Command& command, DmaPort& port,
                 const std::atomic<uint32_t>& attention) override;
  // Controller reset, while nothing is executed.
  void reset();

 private:
  using Command = hw::nvme::Command;
  Answer identify(const Command& command, DmaPort& port);
  Answer get_log_page(const Command& command, DmaPort& port);
  Answer set_features(const Command& command);
  Answer get_features(const Command& command) const;
  hw::nvme::Status create_completions(const Command& command);
  hw::nvme::Status create_submissions(const Command& command);
  hw::nvme::Status remove_completions(const Command& command);
  hw::nvme::Status remove_submissions(const Command& command);
  Answer abort(const Command& command);
  // Writes what a command returns to where its PRPs point.
  Answer give(const Command& command, const void* from, uint64_t bytes, DmaPort& port);
  unsigned io_queues() const { return static_cast<unsigned>(parts_.submissions.size()) - 1; }

  Parts parts_;
  DataPointer data_;
  unsigned held_events_ = 0;
  std::array<uint32_t, 16> features_{};  // by feature identifier
};

}  // namespace causeway::machine::nvme
