// Stacks of the places where something was done: unwound once for each place, found again by class and place.
//
//   LazyStack stack(site, __builtin_return_address(0));   // costs nothing
//   witness.wait = stack.id(arena);                       // unwinds, the first time
//
// The second argument says which frames are the tracker's own: all inside that of this return address.
#pragma once

#include <atomic>
#include <cstdint>

#include "dept/arena.h"
#include "dept/site.h"

namespace causeway::dept {

class LazyStack {
 public:
  LazyStack(Site site, const void* entry) : site_(site), entry_(reinterpret_cast<uintptr_t>(entry)) {}
  LazyStack(Site site, StackId known) : site_(site), id_(known) {}
  StackId id(Arena& arena);
  // Whether somebody paid for it already.
  StackId known() const { return id_; }
  Site site() const { return site_; }
  // Its innermost frames, at most `max`, without recording it.
  unsigned frames(Arena& arena, Frame* frames, unsigned max) const;

 private:
  Site site_;
  uintptr_t entry_ = 0;
  StackId id_ = StackId::kNone;
};

// The stack with which each place first did something with each class. Lock-free.
class SiteStacks {
 public:
  int create();
  void destroy();
  StackId find(ClassId cls, Site site) const;
  // That one; if there is none so far, `stack`, which is it from now on.
  StackId keep(ClassId cls, Site site, LazyStack& stack, Arena& arena);

 private:
  void insert(ClassId cls, Site site, StackId stack);

  static constexpr uint32_t kSlots = 1u << 15;
  struct Slot {
    std::atomic<uint64_t> key;
    std::atomic<uint32_t> stack;
    uint32_t unused;
  };
  Slot* slots_ = nullptr;
};

}  // namespace causeway::dept
