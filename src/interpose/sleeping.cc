#include "interpose/sleeping.h"

#include "interpose/bootstrap.h"

namespace causeway::interpose::sleeping {

using namespace causeway::dept;

namespace {

// One for each handler that runs in a blocking call that another has interrupted.
constexpr unsigned kDeepest = 6;

struct Mine {
  Slot slot[kDeepest];
  unsigned open;
  unsigned base;  // those below it are the interrupted ones
};
thread_local constinit Mine mine{};

void leave_down_to(unsigned count) {
  while (mine.open > count) {
    Slot& left = mine.slot[--mine.open];
    sleeps::end(left.sleep, sleeps::Outcome::kInterrupted, left.site);
  }
}

}  // namespace

Slot* begin(ObjectId object, Site site, const sleeps::How& how) {
  if (object == ObjectId::kNone || ThreadContext::current() == nullptr) return nullptr;
  if (mine.open != mine.base) leave_down_to(mine.base);
  if (mine.open == kDeepest) return nullptr;
  Slot& slot = mine.slot[mine.open++];
  slot.site = site;
  sleeps::begin(slot.sleep, object, site, how);
  return &slot;
}

void end(Slot* slot, sleeps::Outcome outcome) {
  if (slot == nullptr) return;
  sleeps::end(slot->sleep, outcome, slot->site);
  mine.open = static_cast<unsigned>(slot - mine.slot);
}

unsigned handler_begins() {
  const unsigned before = mine.base;
  mine.base = mine.open;
  return before;
}

void handler_ends(unsigned begun, Handler how) {
  leave_down_to(mine.base);
  mine.base = begun;
  if (how == Handler::kJumpsOut) leave_down_to(begun);
}

void leave_all() {
  leave_down_to(0);
  mine.base = 0;
}

}  // namespace causeway::interpose::sleeping
