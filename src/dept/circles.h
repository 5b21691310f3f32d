// The circles of classes that one edge closes, the shortest first.
//
//   for (Circles circles(arena, mark, edge); circles.next();) judge(circles.hops(), circles.count());
//
// The first comes from a breadth-first search and may have up to kHops hops; the others, of up to kMaxHops, by depth, shorter
// ones first. Under the graph's lock.
#pragma once

#include <cstdint>

#include "dept/arena.h"

namespace causeway::dept {

class Circles {
 public:
  static constexpr unsigned kMaxHops = 8;

  // `mark` is the graph's, and is moved on by each search.
  Circles(Arena& arena, uint32_t& mark, EdgeId closing) : arena_(arena), mark_(mark), closing_(closing) {}
  ~Circles() { arena_.count(Counter::kSearchSteps, steps_); }
  Circles(const Circles&) = delete;
  Circles& operator=(const Circles&) = delete;

  bool next();
  // Its edges, the closing one first; no witnesses yet.
  const Hop* hops() const { return hops_; }
  unsigned count() const { return count_; }

 private:
  enum class Stage : uint8_t { kFirst, kOthers, kDone };

  bool shortest();
  void measure();
  bool deeper();
  bool is_shortest_again() const;
  uint32_t new_mark();

  Arena& arena_;
  uint32_t& mark_;
  const EdgeId closing_;
  Stage stage_ = Stage::kFirst;
  uint64_t steps_ = 0;
  Hop hops_[kHops] = {};
  unsigned count_ = 0;
  EdgeId first_[kMaxHops] = {};  // the shortest, if it has no more
  unsigned first_count_ = 0;

  // The walk by depth: hops_[0..depth_) are chosen, next_[depth_] is the edge to try.
  unsigned limit_ = 0;
  unsigned depth_ = 0;
  uint32_t near_ = 0;  // mark of classes from which the closing edge's source is reached; Class::parent is how far
  EdgeId next_[kMaxHops] = {};
};

}  // namespace causeway::dept
