// The descriptors that clients hold of our files: each is a socket pair, one end with the client, one here.
//
//   UniqueFd end = CW_TRY(files.open(file));     // send it to the client
//   FileRef file = files.find(cookie);           // in a later call
//   files.reap();                                // drop what clients have closed
//
// A file's reference is dropped when no descriptor of it is left in any process: then its end hangs up. Close is
// synchronous on Linux, so a call must find everything released that was closed before it: every call
// reaps first. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/result.h"
#include "base/unique_fd.h"
#include "file/file.h"
#include "sync/mutex.h"
#include "sync/thread.h"

namespace causeway::server {

class OpenFiles {
 public:
  // `prefix`: of the abstract addresses of our ends, so that a client knows a descriptor of ours.
  static Result<std::unique_ptr<OpenFiles>> create(std::string prefix);
  ~OpenFiles();

  // The client's end; it counts as one reference of `file`. ENFILE and the like: no sockets left.
  Result<UniqueFd> open(file::FileRef file);
  // The file whose client end is `fd`, wherever it came from; null: not ours.
  file::FileRef find_by_fd(int fd) const;
  file::FileRef find(uint64_t cookie) const;
  // Returns when everything that hung up before has been released.
  void reap();
  size_t count() const;
  // How many files were ever closed by clients.
  uint64_t closed() const { return closed_.load(std::memory_order_acquire); }

 private:
  struct Entry {
    UniqueFd end;
    file::FileRef file;
  };
  OpenFiles(std::string prefix, UniqueFd epoll, UniqueFd stop);
  void watch(const sync::StopToken& stop);

  const std::string prefix_;
  UniqueFd epoll_;
  UniqueFd stop_;  // eventfd
  sync::Mutex reaping_{"server.open_files.reaping"};  // held while files are released
  mutable sync::Mutex mutex_{"server.open_files"};
  std::unordered_map<uint64_t, Entry> entries_ CW_GUARDED_BY(mutex_);  // by cookie
  uint64_t next_name_ CW_GUARDED_BY(mutex_) = 1;
  std::atomic<uint64_t> closed_{0};
  sync::Thread watcher_;
};

}  // namespace causeway::server
