// What the sessions of one kernel share. Private to the room; sessions keep it alive, because a client's
// descriptor may be closed after the Orchestrator has gone.
//
// Locks, in this order: gate, deserialization, a session set, a session, registry, FLBs; that of ownership is a leaf.
#pragma once

#include "kho/kho.h"
#include "luo/abi/luo_v5.h"
#include "luo/flb_set.h"
#include "luo/gate.h"
#include "luo/ownership.h"
#include "luo/registry.h"
#include "luo/session_set.h"

namespace causeway::luo {

struct Core {
  explicit Core(kho::Kho& target)
      : kho(target), outgoing(*kho::BlockSet::create(target, sizeof(abi::SessionSer))) {}

  kho::Kho& kho;
  Gate gate;
  FlbSet flbs;
  Registry registry{flbs};
  Ownership ownership;
  SessionSet outgoing;
  SessionSet incoming;
};

}  // namespace causeway::luo
