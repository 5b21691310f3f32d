// The new kernel's side: deserialize, retrieve, finish.
#include "base/log.h"
#include "base/point.h"
#include "luo/core.h"
#include "luo/file_set.h"
#include "luo/incoming.h"
#include "luo/session.h"

namespace causeway::luo {

Status FileSet::deserialize(const abi::FileSetSer& ser) {
  if (ser.files == 0) {
    if (ser.count != 0) return fail(EINVAL, "LUO: a count of files and no files");
    return {};
  }
  blocks_ = CW_TRY(kho::BlockSet::restore(core_.kho, PhysAddr(ser.files), sizeof(abi::FileSer)));
  if (blocks_.size() != ser.count) {
    log::warn("luo", "session {}: {} files, want {}", session_.name(), blocks_.size(), uint64_t{ser.count});
    return fail(EINVAL, "LUO: the count of files is wrong");
  }
  while (const auto* file = blocks_.read<abi::FileSer>()) CW_TRY(deserialize_one(*file));
  return {};
}

Status FileSet::deserialize_one(const abi::FileSer& ser) {
  CW_FAIL_POINT("luo.deserialize.file");
  const auto compatible = text_of(ser.compatible);
  if (!compatible.has_value()) return fail(EINVAL, "LUO: the compatible string of a file is empty or does not end");
  if (by_token_.contains(ser.token)) return fail(EEXIST, "LUO: two files of one token");
  auto handler = core_.registry.find(*compatible);
  if (!handler.has_value()) {
    log::warn("luo", "session {}: no handler for \"{}\"", session_.name(), *compatible);
    return fail(handler.error());
  }
  Entries made;
  made.push_back({.handler = std::move(*handler),
                  .token = ser.token,
                  .args = {.session = &session_, .serialized_data = ser.data}});
  add(made);
  return {};
}

Result<file::FileRef> FileSet::retrieve(uint64_t token) {
  const auto found = by_token_.find(token);
  if (found == by_token_.end()) return fail(ENOENT, "no file under this token, or the session is finished");
  Entry& entry = *found->second;
  if (entry.args.retrieve_status == RetrieveStatus::kFailed) return fail(entry.failure);
  if (entry.args.retrieve_status == RetrieveStatus::kRetrieved) return entry.args.file;
  if (entry.in_retrieve) return fail(EDEADLK, "two files need each other to be retrieved");
  CW_FAIL_POINT("luo.retrieve.before_handler");
  entry.in_retrieve = true;
  FileArgs args = entry.args;
  Status retrieved = entry.handler->retrieve(args);
  entry.in_retrieve = false;
  if (retrieved.has_value() && args.file == nullptr) retrieved = fail(EIO, "the handler retrieved no file");
  if (!retrieved.has_value()) {
    entry.failure = retrieved.error();
    entry.args.retrieve_status = RetrieveStatus::kFailed;
    log::warn("luo", "session {}: token {:#x} is not retrieved: {}", session_.name(), token,
              to_string(entry.failure));
    return fail(entry.failure);
  }
  CW_POINT("luo.retrieve.after_handler");
  entry.args.file = std::move(args.file);
  entry.args.private_data = std::move(args.private_data);
  entry.args.retrieve_status = RetrieveStatus::kRetrieved;
  auto claim = core_.ownership.claim(entry.handler->id(entry.args.file));
  if (claim.has_value()) {
    entry.claim = std::move(*claim);
  } else {
    log::warn("luo", "session {}: the file of token {:#x} has an owner already", session_.name(), token);
  }
  return entry.args.file;
}

Status FileSet::check_finish() {
  CW_FAIL_POINT("luo.finish.check");
  for (Entry& entry : entries_)
    if (!entry.handler->can_finish(entry.args)) return fail(EBUSY, "a handler does not let its file go yet");
  return {};
}

std::vector<file::FileRef> FileSet::finish() {
  const auto batches = begin_batches();
  std::vector<file::FileRef> dropped;
  dropped.reserve(size());
  while (!entries_.empty()) {
    Entry& entry = entries_.back();
    entry.handler->finish(entry.args);
    CW_POINT("luo.finish.after_handler");
    core_.flbs.file_finished(*core_.registry.links_of(entry.handler));
    dropped.push_back(std::move(entry.args.file));
    by_token_.erase(entry.token);
    entries_.pop_back();
  }
  blocks_.destroy();
  CW_POINT("luo.finish.after_blocks");
  return dropped;
}

}  // namespace causeway::luo
