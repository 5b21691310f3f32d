// What the kernel's calls keep of each thread beside its ThreadContext, and how each of them begins.
//
//   Within self;
//   if (!self) return;                                 // off, or the tracker is under way on this thread
//   self.tracker().wait(self.context(), known(map, site), events, site, {});
//
// Private to this folder.
#pragma once

#include "dept/kernel/map.h"
#include "dept/tracker.h"

namespace causeway::dept::kernel {

struct PerThread {
  struct Interruption {
    uint8_t kind;
    bool hard_off, soft_off;  // of what it interrupts
  };
  struct Allowed {
    ObjectId object;  // kNone: a context
    WaitType inner;
  };
  bool announced;      // which interruptions are enabled at the start
  bool hard_off, soft_off;
  uint8_t interruptions;
  Interruption interruption[8];
  unsigned allowed_count;
  Allowed allowed[64];
  unsigned stages;     // sdt_might_sleep_start() that are open
  unsigned off;        // dept_off()
  unsigned events_off; // inside a recovered event site
  unsigned no_fs;      // ReclaimScope
};
PerThread& per_thread();
IrqMask enabled_interruptions();

class Within {
 public:
  Within();
  explicit operator bool() const { return context_ != nullptr; }
  ThreadContext* context() const { return context_; }
  Tracker& tracker() const { return Tracker::get(); }
  Graph& graph() const { return Tracker::get().graph(); }

  StackId stack_of(Site site) const;
  ClassId class_of(ObjectId object, Event event) const {
    Inside inside;
    return tracker().class_of(object, event);
  }
  void misuse(Misuse misuse, Level level, ObjectId object, Site site) const;

 private:
  ThreadContext* context_;
};

inline constexpr EventMask kAllEvents = 7;

// The map's object, made known if it was not. kNone: it is not to be checked.
ObjectId known(Map& map, Site site);
// For maps that are taken: pushes what `map` allows, and complains if its own wait is not allowed here.
void check_wait_type(const Within& self, const Map& map, Site site);
void push_allowed(const Map& map);
void pop_allowed(const Map& map);

}  // namespace causeway::dept::kernel
