// The files whose size may not change, because they are preserved: Linux freezes the mapping of such an inode. Here the
// inode is the host's, so who lets client programs make their system calls has to ask.
//
//   frozen.add(file.identity());                   // preserve()
//   if (frozen.contains(identity)) refuse(EPERM);  // ftruncate(2) in a client
//   frozen.remove(file.identity());                // unpreserve()
//
// Clients in other processes read a filter in shared memory (file/frozen_filter.h) and ask only about files it does
// not exclude. Thread-safe.
#pragma once

#include <cstddef>
#include <map>

#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "file/native_file.h"
#include "file/frozen_filter.h"
#include "sync/mutex.h"

namespace causeway::memfd {

class FrozenFiles {
 public:
  // Counted: a file is frozen until it has been removed as often as it was added.
  void add(const file::Identity& file);
  void remove(const file::Identity& file);
  bool contains(const file::Identity& file) const;
  size_t size() const;  // files

  // A new descriptor of the filter, for reading. ENOMEM, EMFILE.
  Result<UniqueFd> filter();
  // This kernel is about to be replaced: from now on the filter excludes nothing. unretire(): it was not, after all.
  void retire();
  void unretire();

 private:
  Status make_filter() CW_REQUIRES(mutex_);
  void publish_count() CW_REQUIRES(mutex_);
  file::FrozenFilter* shared() const CW_REQUIRES(mutex_) { return mapping_.at<file::FrozenFilter>(0); }

  mutable sync::Mutex mutex_{"memfd.frozen_files"};
  std::map<file::Identity, size_t> files_ CW_GUARDED_BY(mutex_);
  bool retired_ CW_GUARDED_BY(mutex_) = false;
  // Made when the first client asks for it.
  UniqueFd fd_ CW_GUARDED_BY(mutex_);
  Mapping mapping_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::memfd
