// How one type of file is preserved across a live update: what a subsystem implements so that its files can
// be put into sessions.
//
//   class MemfdHandler : public luo::FileHandler { ... };
//   CW_TRY(orchestrator.register_handler(memfd_handler));
//
// Calls for one file never overlap. In the old kernel: can_preserve, id, preserve, then freeze (and unfreeze, if a
// later file refuses), or unpreserve. In the next one: retrieve at most once, can_finish, finish. The first
// registered handler that accepts a file gets it.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "file/file.h"

namespace causeway::luo {

// What makes two open files the same preserved object; all handlers share one space.
struct FileId {
  uint64_t high = 0;
  uint64_t low = 0;
  auto operator<=>(const FileId&) const = default;
};

enum class RetrieveStatus : uint8_t { kNeverTried, kRetrieved, kFailed };

class Session;

// One file, as its handler sees it.
struct FileArgs {
  Session* session = nullptr;
  file::FileRef file;                 // null in the next kernel until retrieve() has made it
  uint64_t serialized_data = 0;       // what is handed over; preserve() and freeze() may set it
  std::shared_ptr<void> private_data; // the handler's own, in the old kernel
  RetrieveStatus retrieve_status = RetrieveStatus::kNeverTried;  // for finish()
};

class FileHandler {
 public:
  virtual ~FileHandler() = default;
  virtual const char* compatible() const = 0;  // at most 47 bytes, and for ever the same

  virtual bool can_preserve(const file::FileRef& file) = 0;
  // Stable as long as the file is preserved.
  virtual FileId id(const file::FileRef& file) const { return {0, reinterpret_cast<uintptr_t>(file.get())}; }

  // Sets serialized_data and private_data. The file stays in use, and may be written to, until the jump.
  virtual Status preserve(FileArgs& args) = 0;
  virtual void unpreserve(FileArgs& args) = 0;
  // The last look before the jump; a change of serialized_data counts only if it succeeds.
  virtual Status freeze(FileArgs&) { return {}; }
  virtual void unfreeze(FileArgs&) {}

  // Makes args.file from args.serialized_data. What it fails with is what every later attempt gets.
  virtual Status retrieve(FileArgs& args) = 0;
  // May the file be let go now? All files of a session are asked before any is finished.
  virtual bool can_finish(FileArgs&) { return true; }
  // Held around unpreserve() or finish() of several files in a row: what is cheaper for all of them together may wait
  // until it is let go of. Null: nothing is.
  virtual std::shared_ptr<void> batch() { return nullptr; }
  // Nobody will retrieve it any more: frees what is not in use (all of it, if it was never retrieved).
  virtual void finish(FileArgs& args) = 0;
};

}  // namespace causeway::luo
