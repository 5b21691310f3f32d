// The stack of a wrapper's caller, for what is rare enough to be unwound each time.
//
//   graph.report(..., stack_at(CW_SITE), StackId::kNone);
#pragma once

#include "dept/stacks.h"
#include "dept/tracker.h"

namespace causeway::interpose {

inline dept::StackId stack_at(dept::Site site) {
  return dept::LazyStack(site, reinterpret_cast<const void*>(site.where)).id(dept::Tracker::get().arena());
}

}  // namespace causeway::interpose
