#include "luo/flb_set.h"

#include <cstring>

#include "base/log.h"
#include "base/point.h"
#include "luo/publish_word.h"

namespace causeway::luo {

void FlbSet::adopt(std::vector<IncomingFlb> incoming) {
  sync::MutexLock lock(mutex_);
  for (IncomingFlb& flb : incoming) {
    auto made = std::make_shared<FlbInheritance>();
    {
      sync::MutexLock inner(made->mutex);
      made->args.data = flb.data;
      made->files = flb.files;
    }
    incoming_.emplace(std::move(flb.name), std::move(made));
  }
}

Result<FlbRef> FlbSet::link(Flb& flb) {
  const std::string_view name(flb.compatible());
  if (name.empty() || name.size() >= abi::kCompatibleLength)
    return fail(EINVAL, "an FLB's compatible string is empty or too long");
  CW_FAIL_POINT("luo.flb.link");
  sync::MutexLock lock(mutex_);
  for (const FlbRef& known : flbs_) {
    if (known->flb == &flb) {
      ++known->links;
      return known;
    }
    if (name == known->flb->compatible()) return fail(EEXIST, "another FLB has this compatible string");
  }
  if (flbs_.size() == abi::kMaxFlbs) return fail(ENOSPC, "as many FLBs as the handover page holds");
  auto made = std::make_shared<RegisteredFlb>(flb);
  made->links = 1;
  if (auto it = incoming_.find(std::string(name)); it != incoming_.end()) made->inheritance = it->second;
  flbs_.push_back(made);
  return made;
}

Status FlbSet::unlink(Flb& flb) {
  sync::MutexLock lock(mutex_);
  for (auto it = flbs_.begin(); it != flbs_.end(); ++it) {
    RegisteredFlb& known = **it;
    if (known.flb != &flb) continue;
    if (known.links > 1) {
      --known.links;
      return {};
    }
    {
      sync::MutexLock inner(known.mutex);
      if (known.files + known.references > 0) return fail(EBUSY, "the FLB is in use");
    }
    flbs_.erase(it);
    return {};
  }
  return fail(ENOENT, "the FLB is not registered");
}

Result<FlbRef> FlbSet::find(const Flb& flb) const {
  sync::MutexLock lock(mutex_);
  for (const FlbRef& known : flbs_)
    if (known->flb == &flb) return known;
  return fail(ENOENT, "the FLB is not registered");
}

size_t FlbSet::size() const {
  sync::MutexLock lock(mutex_);
  return flbs_.size();
}

namespace {

Status hold_one(RegisteredFlb& known) {
  sync::MutexLock lock(known.mutex);
  if (known.files + known.references == 0) {
    CW_FAIL_POINT("luo.flb.preserve");
    FlbArgs args;
    CW_TRY(known.flb->preserve(args));
    known.args = std::move(args);
  }
  ++known.files;
  return {};
}

}  // namespace

Status FlbSet::hold(const FlbList& flbs) {
  for (size_t i = 0; i < flbs.size(); ++i) {
    Status held = hold_one(*flbs[i]);
    if (held.has_value()) continue;
    while (i-- > 0) drop(*flbs[i], true);
    return held;
  }
  return {};
}

void FlbSet::release(const FlbList& flbs) {
  for (auto it = flbs.rbegin(); it != flbs.rend(); ++it) drop(**it, true);
}

void FlbSet::drop(RegisteredFlb& known, bool file) {
  sync::MutexLock lock(known.mutex);
  uint64_t& count = file ? known.files : known.references;
  if (count == 0) {
    log::warn("luo", "FLB {}: put more often than it was got", known.flb->compatible());
    return;
  }
  if (--count > 0 || known.files + known.references > 0) return;
  known.flb->unpreserve(known.args);
  known.args = {};
}

Result<std::shared_ptr<void>> FlbSet::get_outgoing(const Flb& flb) {
  const FlbRef known = CW_TRY(find(flb));
  sync::MutexLock lock(known->mutex);
  if (known->args.object == nullptr) return fail(ENOENT, "the FLB is not preserved");
  ++known->references;
  return known->args.object;
}

void FlbSet::put_outgoing(const Flb& flb) {
  if (auto known = find(flb)) drop(**known, false);
}

Status FlbSet::retrieve_once(RegisteredFlb& known, FlbInheritance& inheritance) CW_NO_THREAD_SAFETY_ANALYSIS {
  if (inheritance.tried) return inheritance.outcome;
  inheritance.tried = true;
  FlbArgs args{.data = inheritance.args.data};
  inheritance.outcome = known.flb->retrieve(args);
  if (inheritance.outcome.has_value()) {
    inheritance.args.object = std::move(args.object);
  } else {
    log::warn("luo", "FLB {} is not retrieved: {}", known.flb->compatible(),
              to_string(inheritance.outcome.error()));
  }
  return inheritance.outcome;
}

Result<std::shared_ptr<void>> FlbSet::get_incoming(const Flb& flb) {
  const FlbRef known = CW_TRY(find(flb));
  if (known->inheritance == nullptr) {
    sync::MutexLock lock(mutex_);
    return incoming_.empty() ? fail(ENODATA, "no FLB was handed over")
                             : fail(ENOENT, "this FLB was not handed over");
  }
  FlbInheritance& inheritance = *known->inheritance;
  sync::MutexLock lock(inheritance.mutex);
  if (inheritance.finished) return fail(ENODATA, "what was handed over of this FLB is finished");
  CW_FAIL_POINT("luo.flb.get_incoming");
  CW_TRY(retrieve_once(*known, inheritance));
  ++inheritance.references;
  return inheritance.args.object;
}

void FlbSet::put_incoming(const Flb& flb) {
  if (auto known = find(flb)) drop_incoming(**known, false);
}

void FlbSet::file_finished(const FlbList& flbs) {
  for (auto it = flbs.rbegin(); it != flbs.rend(); ++it) drop_incoming(**it, true);
}

void FlbSet::drop_incoming(RegisteredFlb& known, bool file) {
  if (known.inheritance == nullptr) return;  // an FLB that only this kernel has
  FlbInheritance& inheritance = *known.inheritance;
  sync::MutexLock lock(inheritance.mutex);
  uint64_t& count = file ? inheritance.files : inheritance.references;
  if (count == 0) {
    // A file whose handler was not linked to the FLB in the old kernel.
    if (!file) log::warn("luo", "FLB {}: put more often than it was got", known.flb->compatible());
    return;
  }
  if (--count > 0 || inheritance.files + inheritance.references > 0 || inheritance.finished) return;
  // Not got by anybody: it is retrieved now, because only then finish() knows what to free.
  if (!retrieve_once(known, inheritance).has_value()) return;
  known.flb->finish(inheritance.args);
  inheritance.args = {};
  inheritance.finished = true;
}

void FlbSet::serialize(abi::FlbHeaderSer* page) const {
  auto* entries = reinterpret_cast<abi::FlbSer*>(page + 1);
  uint64_t count = 0;
  sync::MutexLock lock(mutex_);
  for (const FlbRef& known : flbs_) {
    sync::MutexLock inner(known->mutex);
    if (known->files == 0) continue;
    abi::FlbSer& entry = entries[count++];
    std::memset(&entry, 0, sizeof(entry));
    std::memcpy(entry.name, known->flb->compatible(), std::strlen(known->flb->compatible()));
    entry.data = known->args.data;
    entry.count = known->files;
  }
  page->page_count = 1;
  // The next kernel may read the page at any instant: the count comes last.
  publish_word(page, offsetof(abi::FlbHeaderSer, count), count);
}

void FlbSet::clear(abi::FlbHeaderSer* page) {
  page->page_count = 1;
  publish_word(page, offsetof(abi::FlbHeaderSer, count), 0);
}

}  // namespace causeway::luo
