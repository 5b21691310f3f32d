// Objects of one class, held at once: whether the program takes them in an order, and the circles of objects if not.
//
//   const uint32_t broken = edge.flags | orders_against(arena, held, wanted);
//   if (!all_orders_broken(broken)) return;                     // some order holds for all pairs so far: no circle
//   ObjectCircles circles(arena, jury);
//   if (circles.find(edge, witness, worst_cost, &verdict)) ...  // hops from object to object
//
// Four orders are tried: by address and by first use, each both ways. As long as one holds for every pair that was ever seen,
// there is no circle, and pairs beyond a number need not be kept: an array of locks taken from the first to the last costs
// little. When the last order breaks, the pairs that are kept are searched, and others are wanted again.
//
// A circle of objects may also lead through other classes: it finds those in which a class occurs more than once.
#pragma once

#include <cstdint>

#include "dept/judge.h"
#include "dept/witness_lists.h"

namespace causeway::dept {

inline constexpr uint32_t kAllOrders =
    Edge::kNotByAddress | Edge::kNotAgainstAddress | Edge::kNotByFirstUse | Edge::kNotAgainstFirstUse;
// The orders that this pair does not follow.
uint32_t orders_against(const Arena& arena, ObjectId held, ObjectId wanted);
constexpr bool all_orders_broken(uint32_t flags) { return (flags & kAllOrders) == kAllOrders; }

// Witnesses kept of pairs of one class, and of one pair.
inline constexpr uint32_t kPairsInOrder = 1024, kPairsWithoutOrder = 4096, kWitnessesOfPair = 4;

class ObjectCircles {
 public:
  static constexpr unsigned kMaxHops = 8;

  ObjectCircles(Arena& arena, Jury& jury) : arena_(arena), jury_(jury), pairs_(arena) {}

  // The best circle of objects that this witness closes, if it costs less than `bound` (Jury::cost_of): shorter ones first.
  bool find(EdgeId edge, WitnessId witness, unsigned bound, Verdict* verdict);

 private:
  bool extend(unsigned depth, uint32_t refutations);
  bool try_witness(unsigned depth, uint32_t refutations, EdgeId edge, WitnessId id);

  Arena& arena_;
  Jury& jury_;
  WitnessLists pairs_;
  Verdict* best_ = nullptr;
  unsigned bound_ = 0;
  bool found_ = false;
  unsigned limit_ = 0;
  unsigned steps_ = 0;
  Hop hops_[kMaxHops] = {};
  const Witness* chosen_[kMaxHops] = {};
};

}  // namespace causeway::dept
