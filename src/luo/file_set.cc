// The old kernel's side: preserve, unpreserve, freeze.
#include "luo/file_set.h"

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "luo/core.h"
#include "luo/session.h"

namespace causeway::luo {

FileSet::FileSet(Core& core, Session& session)
    : core_(core), session_(session), blocks_(*kho::BlockSet::create(core.kho, sizeof(abi::FileSer))) {}

Status FileSet::preserve(uint64_t token, Result<file::FileRef>& file) {
  if (by_token_.contains(token)) return fail(EEXIST, "the token is used in this session");
  CW_TRY(blocks_.grow(size() + 1));
  Status preserved = preserve_in_room(token, file);
  if (!preserved.has_value()) blocks_.shrink(size());
  return preserved;
}

namespace {

// Gives FLBs back unless told that all went well.
class FlbHold {
 public:
  FlbHold(FlbSet& set, const FlbList& flbs) : set_(set), flbs_(flbs) {}
  ~FlbHold() {
    if (held_) set_.release(flbs_);
  }
  FlbHold(const FlbHold&) = delete;
  FlbHold& operator=(const FlbHold&) = delete;
  Status take() {
    CW_TRY(set_.hold(flbs_));
    held_ = true;
    return {};
  }
  void keep() { held_ = false; }

 private:
  FlbSet& set_;
  const FlbList& flbs_;
  bool held_ = false;
};

}  // namespace

// What was done is undone in reverse, by destructors, when a step fails.
Status FileSet::preserve_in_room(uint64_t token, Result<file::FileRef>& file) {
  if (!file.has_value()) return fail(file.error());
  HandlerUse handler = CW_TRY(core_.registry.find_for(*file));
  Entries made;
  made.push_back({.handler = std::move(handler), .token = token});
  Entry& entry = made.back();
  CW_FAIL_POINT("luo.preserve.claim");
  entry.claim = CW_TRY(core_.ownership.claim(entry.handler->id(*file)));
  entry.flbs = core_.registry.links_of(entry.handler);
  FlbHold flbs(core_.flbs, *entry.flbs);
  CW_TRY(flbs.take());
  CW_FAIL_POINT("luo.preserve.before_handler");
  entry.args = {.session = &session_, .file = *file};
  CW_TRY(entry.handler->preserve(entry.args));
  CW_POINT("luo.preserve.after_handler");
  flbs.keep();
  token_by_file_.emplace(entry.args.file.get(), token);
  add(made);
  return {};
}

void FileSet::add(Entries& made) {
  entries_.splice(entries_.end(), made);
  by_token_.emplace(entries_.back().token, std::prev(entries_.end()));
}

file::FileRef FileSet::let_go(Entries::iterator entry) {
  entry->handler->unpreserve(entry->args);
  core_.flbs.release(*entry->flbs);
  file::FileRef file = std::move(entry->args.file);
  token_by_file_.erase(file.get());
  by_token_.erase(entry->token);
  entries_.erase(entry);
  blocks_.shrink(size());
  CW_POINT("luo.unpreserve.after_file");
  return file;
}

Result<file::FileRef> FileSet::unpreserve(uint64_t token) {
  const auto found = by_token_.find(token);
  if (found == by_token_.end()) return fail(ENOENT, "no file under this token");
  return let_go(found->second);
}

std::vector<std::shared_ptr<void>> FileSet::begin_batches() {
  std::vector<FileHandler*> handlers;
  std::vector<std::shared_ptr<void>> batches;
  for (const Entry& entry : entries_) {
    if (std::find(handlers.begin(), handlers.end(), entry.handler.target()->handler) != handlers.end()) continue;
    handlers.push_back(entry.handler.target()->handler);
    batches.push_back(entry.handler->batch());
  }
  return batches;
}

std::vector<file::FileRef> FileSet::unpreserve_all() {
  const auto batches = begin_batches();
  std::vector<file::FileRef> dropped;
  dropped.reserve(size());
  while (!entries_.empty()) dropped.push_back(let_go(std::prev(entries_.end())));
  blocks_.destroy();
  return dropped;
}

Result<uint64_t> FileSet::token_of(const file::FileRef& file) const {
  const auto found = token_by_file_.find(file.get());
  if (found == token_by_file_.end()) return fail(ENOENT, "the file is not preserved in this session");
  return found->second;
}

Status FileSet::freeze_one(Entry& entry) {
  CW_FAIL_POINT("luo.serialize.file");
  auto* ser = blocks_.reserve<abi::FileSer>();
  if (ser == nullptr) return fail(ENOSPC, "no room was kept for the file");
  FileArgs args = entry.args;
  CW_TRY(entry.handler->freeze(args));
  entry.args.serialized_data = args.serialized_data;
  entry.args.private_data = std::move(args.private_data);
  std::memcpy(ser->compatible, entry.handler->compatible(), std::strlen(entry.handler->compatible()));
  ser->data = entry.args.serialized_data;
  ser->token = entry.token;
  return {};
}

Status FileSet::freeze(abi::FileSetSer* ser) {
  *ser = {};
  blocks_.clear();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (Status frozen = freeze_one(*it); !frozen.has_value()) {
      log::warn("luo", "session {}: {} does not freeze token {:#x}: {}", session_.name(), it->handler->compatible(),
                it->token, to_string(frozen.error()));
      unfreeze_before(it);
      return frozen;
    }
    CW_POINT("luo.serialize.after_file");
  }
  *ser = {.files = blocks_.head().value(), .count = size()};
  return {};
}

void FileSet::unfreeze() {
  unfreeze_before(entries_.end());
}

void FileSet::unfreeze_before(Entries::iterator end) {
  for (auto it = entries_.begin(); it != end; ++it) it->handler->unfreeze(it->args);
  blocks_.clear();
}

}  // namespace causeway::luo
