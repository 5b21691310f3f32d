// The files of one session: by token, and in the order of their preservation. The session serialises.
//
// Outgoing: preserve() ... freeze() (unfreeze()) or unpreserve_all(). Incoming: deserialize(), retrieve() ...,
// check_finish() and finish(). A file that is let go is returned, so that its release runs without
// the session's lock.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "file/file.h"
#include "kho/block_set.h"
#include "luo/abi/luo_v5.h"
#include "luo/file_handler.h"
#include "luo/ownership.h"
#include "luo/registry.h"

namespace causeway::luo {

struct Core;

class FileSet {
 public:
  FileSet(Core& core, Session& session);
  FileSet(const FileSet&) = delete;
  FileSet& operator=(const FileSet&) = delete;

  uint64_t size() const { return entries_.size(); }

  // -- Outgoing.
  Status preserve(uint64_t token, Result<file::FileRef>& file);
  Result<file::FileRef> unpreserve(uint64_t token);
  std::vector<file::FileRef> unpreserve_all();  // latest first
  Result<uint64_t> token_of(const file::FileRef& file) const;
  // Asks every handler and writes the entries; on failure those asked before are unfrozen, in the order they were asked.
  Status freeze(abi::FileSetSer* ser);
  void unfreeze();

  // -- Incoming.
  // EINVAL: damaged (chain, count, a name that does not end); ENOENT: a file without a handler; EEXIST: two files of
  // one token. The blocks stay until finish().
  Status deserialize(const abi::FileSetSer& ser);
  Result<file::FileRef> retrieve(uint64_t token);
  Status check_finish();                 // EBUSY: a handler refuses
  std::vector<file::FileRef> finish();  // latest first

 private:
  struct Entry {
    HandlerUse handler;
    uint64_t token = 0;
    FileArgs args;
    std::shared_ptr<const FlbList> flbs;  // held for it
    Ownership::Claim claim;
    Error failure;            // of retrieve()
    bool in_retrieve = false;
  };
  using Entries = std::list<Entry>;

  Status preserve_in_room(uint64_t token, Result<file::FileRef>& file);
  // Of every handler that has a file here; to be held while all files are let go of.
  std::vector<std::shared_ptr<void>> begin_batches();
  file::FileRef let_go(Entries::iterator entry);
  Status freeze_one(Entry& entry);
  void unfreeze_before(Entries::iterator end);
  Status deserialize_one(const abi::FileSer& ser);
  void add(Entries& made);

  Core& core_;
  Session& session_;
  kho::BlockSet blocks_;  // of abi::FileSer
  Entries entries_;
  std::unordered_map<uint64_t, Entries::iterator> by_token_;
  std::unordered_map<const file::File*, uint64_t> token_by_file_;  // outgoing
};

}  // namespace causeway::luo
