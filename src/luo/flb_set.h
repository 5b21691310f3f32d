// The registered FLBs, how many files depend on each in this kernel and in the one before, and their page in the
// handover.
//
// Two counts are kept apart: files, which the next kernel must know, and references of in-kernel users
// (get/put), which end with this kernel. Each FLB's calls run under its own mutex.
#pragma once

#include <list>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "luo/abi/luo_v5.h"
#include "luo/flb.h"
#include "luo/incoming.h"
#include "sync/mutex.h"

namespace causeway::luo {

// What the previous kernel handed over for one FLB; outlives its registration.
struct FlbInheritance {
  sync::Mutex mutex{"luo.flb_incoming"};
  FlbArgs args CW_GUARDED_BY(mutex);
  uint64_t files CW_GUARDED_BY(mutex) = 0;
  uint64_t references CW_GUARDED_BY(mutex) = 0;
  bool tried CW_GUARDED_BY(mutex) = false;
  bool finished CW_GUARDED_BY(mutex) = false;
  Status outcome CW_GUARDED_BY(mutex);  // of retrieve()
};

struct RegisteredFlb {
  explicit RegisteredFlb(Flb& target) : flb(&target) {}
  Flb* flb;
  unsigned links = 0;                           // handlers; under the set's mutex
  std::shared_ptr<FlbInheritance> inheritance;  // null: nothing was handed over
  sync::Mutex mutex{"luo.flb_outgoing"};
  FlbArgs args CW_GUARDED_BY(mutex);
  uint64_t files CW_GUARDED_BY(mutex) = 0;
  uint64_t references CW_GUARDED_BY(mutex) = 0;
};
using FlbRef = std::shared_ptr<RegisteredFlb>;
using FlbList = std::vector<FlbRef>;

class FlbSet {
 public:
  // Before anything is registered.
  void adopt(std::vector<IncomingFlb> incoming);

  // One more handler is linked to `flb`. EINVAL: no usable name; EEXIST: the name is another FLB's;
  // ENOSPC: 63 are registered.
  Result<FlbRef> link(Flb& flb);
  // EBUSY: the last link of an FLB that is in use.
  Status unlink(Flb& flb);
  // ENOENT: not registered.
  Result<FlbRef> find(const Flb& flb) const;

  // Old kernel: a file of a handler with these links is preserved, or was given up. hold() is all or nothing.
  Status hold(const FlbList& flbs);
  void release(const FlbList& flbs);
  // New kernel: a file of the old kernel is finished.
  void file_finished(const FlbList& flbs);

  // ENOENT: not preserved now, or preserve() left no object.
  Result<std::shared_ptr<void>> get_outgoing(const Flb& flb);
  void put_outgoing(const Flb& flb);
  // ENODATA: nothing was handed over at all, or it is finished; ENOENT: nothing for this FLB; the error
  // of the first retrieve().
  Result<std::shared_ptr<void>> get_incoming(const Flb& flb);
  void put_incoming(const Flb& flb);

  // The FLBs that files depend on, in the order of their registration. Nobody holds or releases meanwhile.
  void serialize(abi::FlbHeaderSer* page) const;
  static void clear(abi::FlbHeaderSer* page);
  size_t size() const;

 private:
  void drop(RegisteredFlb& flb, bool file);
  static Status retrieve_once(RegisteredFlb& flb, FlbInheritance& inheritance);
  static void drop_incoming(RegisteredFlb& flb, bool file);

  mutable sync::Mutex mutex_{"luo.flbs"};
  std::list<FlbRef> flbs_ CW_GUARDED_BY(mutex_);
  std::unordered_map<std::string, std::shared_ptr<FlbInheritance>> incoming_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::luo
