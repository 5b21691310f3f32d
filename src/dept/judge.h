// How much a circle is to be believed: whether its hops have been seen such that they could have met.
//
//   Verdict verdict;
//   if (Jury(arena, order, judge).weigh(hops, count, &verdict)) publish(verdict.level, verdict.refutations);
//
// A circle of classes deadlocks if there are threads, one for each hop, that hold what the one before waits for, all at once. Each
// edge has several witnesses; the choice with the best level counts, and among those the one with the fewest
// refutations. More witnesses can only make it better.
#pragma once

#include <cstdint>

#include "dept/arena.h"

namespace causeway::dept {

class Order;

// Which differences count. The kernel's rules have none of them: a circle is a circle.
struct Judge {
  bool threads = true;  // hops of one thread cannot deadlock
  bool gates = true;
  bool order = true;
  bool objects = true;    // hops that meet in a class, but not in an object, are only possible
  bool timeouts = false;  // timed waits count like others
  // Whether a hop of one run and one of another could not have met, as far as their runs tell: who merges runs knows.
  bool (*apart)(const void* context, const Witness& a, const Witness& b) = nullptr;
  const void* context = nullptr;
};

// Refutations, to the level they leave.
Level level_of(uint32_t refutations);

struct Verdict {
  Level level = Level::kInfo;
  uint32_t refutations = 0;
  unsigned count = 0;
  Hop hops[kHops] = {};
};

class Jury {
 public:
  Jury(Arena& arena, const Order* order, const Judge& judge) : arena_(arena), order_(order), judge_(judge) {}

  // The best choice of witnesses for the edges of `hops`; a hop that has a witness already keeps it. False: an edge has none that counts.
  bool weigh(const Hop* hops, unsigned count, Verdict* verdict);

  // What speaks against one hop; against two at the same time; against one that waits for what the other holds.
  uint32_t against(const Witness& hop) const;
  uint32_t against_both(const Witness& a, const Witness& b) const;
  uint32_t against_meeting(const Witness& waits, const Witness& holds) const;
  // A tentative one of an object that turned out to be no lock.
  bool is_void(const Witness& witness) const;
  // Smaller is better; grows with each refutation.
  static unsigned cost_of(uint32_t refutations);

 private:
  bool may_be_through(const Witness& joins, const Witness& ends) const;
  bool choose(unsigned hop, uint32_t refutations);

  Arena& arena_;
  const Order* order_;
  const Judge judge_;
  const Hop* hops_ = nullptr;
  unsigned count_ = 0;
  const Witness* chosen_[kHops] = {};
  WitnessId ids_[kHops] = {};
  unsigned steps_ = 0;
  unsigned best_cost_ = 0;
  Verdict* best_ = nullptr;
};

}  // namespace causeway::dept
