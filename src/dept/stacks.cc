#include "dept/stacks.h"

#include <cerrno>
#include <sys/mman.h>

#include "dept/hash.h"
#include "dept/unwind.h"

namespace causeway::dept {

unsigned LazyStack::frames(Arena& arena, Frame* frames, unsigned max) const {
  unsigned count = 0;
  if (site_.line != 0) {
    // The place is a line of source; what called the function it lies in follows.
    frames[count++] = arena.frame_of(site_);
    if (entry_ == 0 || count == max) return count;
    return count + unwind_from(frames + count, max - count, entry_);
  }
  count = unwind_from(frames, max, site_.where);
  if (count != 0 && frames[0].pc() == site_.where) return count;
  // It is none of our callers: a place that the caller knows otherwise.
  count = 0;
  if (site_.where != 0) frames[count++] = Frame::pc(site_.where);
  if (entry_ == 0 || count == max) return count;
  return count + unwind_from(frames + count, max - count, entry_);
}

StackId LazyStack::id(Arena& arena) {
  if (id_ != StackId::kNone) return id_;
  arena.count(Counter::kUnwinds);
  Frame frames_found[kStackDepth];
  const unsigned depth = frames(arena, frames_found, kStackDepth);
  if (depth != 0) id_ = arena.intern(frames_found, depth);
  return id_;
}

namespace {
uint64_t key_of(ClassId cls, Site site) { return mix(mix(site.where, site.line), index_of(cls)); }
}  // namespace

int SiteStacks::create() {
  void* memory = ::mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return -ENOMEM;
  slots_ = static_cast<Slot*>(memory);
  return 0;
}

void SiteStacks::destroy() {
  if (slots_ != nullptr) ::munmap(slots_, kSlots * sizeof(Slot));
  slots_ = nullptr;
}

StackId SiteStacks::find(ClassId cls, Site site) const {
  const uint64_t key = key_of(cls, site);
  for (uint32_t probe = 0; probe < 64; ++probe) {
    const Slot& slot = slots_[(key + probe) & (kSlots - 1)];
    const uint64_t there = slot.key.load(std::memory_order_acquire);
    if (there == key) return StackId(slot.stack.load(std::memory_order_acquire));
    if (there == 0) break;
  }
  return StackId::kNone;
}

StackId SiteStacks::keep(ClassId cls, Site site, LazyStack& stack, Arena& arena) {
  if (const StackId there = find(cls, site); there != StackId::kNone) return there;
  insert(cls, site, stack.id(arena));
  return stack.id(arena);
}

void SiteStacks::insert(ClassId cls, Site site, StackId stack) {
  const uint64_t key = key_of(cls, site);
  for (uint32_t probe = 0; probe < 64; ++probe) {
    Slot& slot = slots_[(key + probe) & (kSlots - 1)];
    uint64_t there = slot.key.load(std::memory_order_acquire);
    if (there == 0 && slot.key.compare_exchange_strong(there, key, std::memory_order_acq_rel)) there = key;
    if (there != key) continue;
    slot.stack.store(index_of(stack), std::memory_order_release);
    return;
  }
}

}  // namespace causeway::dept
