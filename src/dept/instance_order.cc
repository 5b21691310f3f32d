#include "dept/instance_order.h"

namespace causeway::dept {

namespace {

constexpr unsigned kMaxSteps = 1 << 13;

}  // namespace

uint32_t orders_against(const Arena& arena, ObjectId held, ObjectId wanted) {
  const uint64_t a = arena.at<Object>(held).address;
  const uint64_t b = arena.at<Object>(wanted).address;
  uint32_t flags = held < wanted ? Edge::kNotAgainstFirstUse : Edge::kNotByFirstUse;
  if (a != b) flags |= a < b ? Edge::kNotAgainstAddress : Edge::kNotByAddress;
  return flags;
}

bool ObjectCircles::find(EdgeId edge, WitnessId witness, unsigned bound, Verdict* verdict) {
  best_ = verdict;
  bound_ = bound;
  found_ = false;
  steps_ = 0;
  const Witness& first = arena_.at<Witness>(witness);
  if (first.from_object == ObjectId::kNone || first.to_object == ObjectId::kNone) return false;
  hops_[0] = {edge, witness};
  chosen_[0] = &first;
  const uint32_t refutations = jury_.against(first);
  // Each limit anew: what two threads can do is told before what needs eight.
  for (limit_ = 2; limit_ <= kMaxHops; ++limit_) {
    if (extend(1, refutations)) break;
  }
  if (steps_ > kMaxSteps) arena_.count(Counter::kSearchGivenUp);
  arena_.count(Counter::kSearchSteps, steps_);
  return found_;
}

// True: enough, good or bad.
bool ObjectCircles::extend(unsigned depth, uint32_t refutations) {
  if (Jury::cost_of(refutations) >= bound_) return false;
  const ClassId here = arena_.at<Edge>(hops_[depth - 1].edge).to;
  const ObjectId object = chosen_[depth - 1]->to_object;
  EdgeId edge{arena_.at<Class>(here).first_out.load(std::memory_order_relaxed)};
  for (; edge != EdgeId::kNone; edge = arena_.at<Edge>(edge).next_out) {
    const Edge& e = arena_.at<Edge>(edge);
    if (++steps_ > kMaxSteps) return true;
    if ((e.flags.load(std::memory_order_relaxed) & Edge::kVoid) != 0) continue;
    if (e.from == e.to) {
      for (uint32_t at = pairs_.first(WitnessLists::key_of(edge, object)); at != 0; at = pairs_.next(at)) {
        if (try_witness(depth, refutations, edge, pairs_.witness(at))) return true;
      }
      continue;
    }
    for (WitnessId id{e.first_witness.load(std::memory_order_relaxed)}; id != WitnessId::kNone; id = arena_.at<Witness>(id).next) {
      if (try_witness(depth, refutations, edge, id)) return true;
    }
  }
  return false;
}

bool ObjectCircles::try_witness(unsigned depth, uint32_t refutations, EdgeId edge, WitnessId id) {
  if (++steps_ > kMaxSteps) return true;
  const Witness& witness = arena_.at<Witness>(id);
  if (witness.from_object != chosen_[depth - 1]->to_object || jury_.is_void(witness)) return false;
  const ClassId start = arena_.at<Edge>(hops_[0].edge).from;
  const bool closes = witness.to_object == chosen_[0]->from_object && arena_.at<Edge>(edge).to == start;
  if (closes != (depth + 1 == limit_)) return false;
  // Through each object once.
  for (unsigned i = 1; i < depth && !closes; ++i) {
    if (chosen_[i]->from_object == witness.to_object) return false;
  }
  refutations |= jury_.against(witness);
  for (unsigned i = 0; i < depth; ++i) {
    if (Jury::cost_of(refutations) >= bound_) return false;
    refutations |= jury_.against_both(*chosen_[i], witness);
  }
  const unsigned cost = Jury::cost_of(refutations);
  if (cost >= bound_) return false;
  chosen_[depth] = &witness;
  hops_[depth] = {edge, id};
  if (!closes) return extend(depth + 1, refutations);
  bound_ = cost;
  found_ = true;
  best_->refutations = refutations;
  best_->level = level_of(refutations);
  best_->count = limit_;
  for (unsigned i = 0; i < limit_; ++i) best_->hops[i] = hops_[i];
  return cost == 0;
}

}  // namespace causeway::dept
