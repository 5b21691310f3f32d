#include "dept/judge.h"

#include <bit>

#include "dept/order.h"

namespace causeway::dept {

namespace {

// Choices looked at for one circle. Beyond that the best so far stands, until a new witness comes.
constexpr unsigned kMaxSteps = 1 << 13;

constexpr uint32_t kImpossible = Refutation::kOneThread | Refutation::kGate | Refutation::kOrdered | Refutation::kOnlyTimed |
                                 Refutation::kOthersNotShared;

// What a hop certainly holds alone. A read lock, or a semaphore of which there may be several, keeps nobody out.
ObjectId exclusive_of(const Witness& hop) {
  constexpr uint32_t kShares = Witness::kTentative | Witness::kPool;
  return (hop.flags & Witness::kOwned) != 0 && hop.from_event != Event::kRead && (hop.flags & kShares) == 0 ? hop.from_object
                                                                                                            : ObjectId::kNone;
}

bool guards(const Witness& hop, ObjectId object) {
  if (object == ObjectId::kNone) return false;
  if (exclusive_of(hop) == object) return true;
  const unsigned count = hop.guard_count < kGuards ? hop.guard_count : kGuards;
  for (unsigned i = 0; i < count; ++i) {
    if (hop.guards[i] == object) return true;
  }
  return false;
}

bool share_a_guard(const Witness& a, const Witness& b) {
  if ((a.flags & b.flags & Witness::kGuardsLost) != 0) return true;  // both hold so much that one is likely the same
  if (guards(b, exclusive_of(a))) return true;
  const unsigned count = a.guard_count < kGuards ? a.guard_count : kGuards;
  for (unsigned i = 0; i < count; ++i) {
    if (guards(b, a.guards[i])) return true;
  }
  return false;
}

}  // namespace

Level level_of(uint32_t refutations) {
  if ((refutations & kImpossible) != 0) return Level::kInfo;
  return refutations != 0 ? Level::kPossible : Level::kLikely;
}

unsigned Jury::cost_of(uint32_t refutations) {
  const unsigned level = static_cast<unsigned>(Level::kLikely) - static_cast<unsigned>(level_of(refutations));
  return level * 64 + static_cast<unsigned>(std::popcount(refutations));
}

bool Jury::is_void(const Witness& witness) const {
  if ((witness.flags & Witness::kTentative) == 0) return false;
  const auto is_signal = [&](ObjectId id) {
    return (arena_.at<Object>(id).flags.load(std::memory_order_relaxed) & Object::kSignalLike) != 0;
  };
  return is_signal(witness.from_object) || is_signal(witness.to_object);
}

uint32_t Jury::against(const Witness& hop) const {
  uint32_t refutations = 0;
  if ((hop.flags & Witness::kTimed) != 0 && !judge_.timeouts) refutations |= Refutation::kOnlyTimed;
  if ((hop.flags & Witness::kPredicted) != 0) refutations |= Refutation::kOnlyPredicted;
  if ((hop.flags & (Witness::kInferred | Witness::kSpinTry)) != 0) refutations |= Refutation::kOnlyInferred;
  if ((hop.flags & Witness::kPool) != 0) refutations |= Refutation::kOnlyTentative;
  // Others unlock it as well: it may be free before whoever took it comes back.
  if ((hop.flags & Witness::kOwned) != 0 &&
      (arena_.at<Object>(hop.from_object).flags.load(std::memory_order_relaxed) & Object::kHandedOver) != 0) {
    refutations |= Refutation::kOnlyTentative;
  }
  if ((hop.flags & Witness::kTentative) != 0) {
    // Since then its use may have shown that it is a lock.
    const auto is_open = [&](ObjectId id) {
      const Object& object = arena_.at<Object>(id);
      return (object.kind == Kind::kSemaphore || object.kind == Kind::kFutex || object.kind == Kind::kUnknown) &&
             (object.flags.load(std::memory_order_relaxed) & Object::kLockLike) == 0;
    };
    if (is_open(hop.from_object) || is_open(hop.to_object)) refutations |= Refutation::kOnlyTentative;
  }
  return refutations;
}

// That a thread takes a lock once more before its end was concluded from its rounds (dependencies.h). Who has looked under that lock before,
// and joins the thread under it only now, may have found there that it is through with them.
bool Jury::may_be_through(const Witness& joins, const Witness& ends) const {
  return (joins.flags & Witness::kAgain) != 0 && joins.from_object == ends.to_object && joins.to_object == ends.from_object &&
         (ends.flags & Witness::kOwned) != 0 && arena_.at<Object>(ends.from_object).kind == Kind::kThread;
}

uint32_t Jury::against_both(const Witness& a, const Witness& b) const {
  uint32_t refutations = 0;
  // Who merges runs gives threads with the same part in both the same name.
  if (judge_.threads && a.thread == b.thread) refutations |= Refutation::kOneThread;
  if (judge_.gates && share_a_guard(a, b)) refutations |= Refutation::kGate;
  if (may_be_through(a, b) || may_be_through(b, a)) refutations |= Refutation::kOnlyPredicted;
  // Clocks of different runs say nothing about each other.
  if (judge_.order && order_ != nullptr && a.run == b.run && (order_->before(a, b) || order_->before(b, a))) {
    refutations |= Refutation::kOrdered;
  }
  if (judge_.order && judge_.apart != nullptr && a.run != b.run && judge_.apart(judge_.context, a, b)) {
    refutations |= Refutation::kOrdered;
  }
  return refutations;
}

uint32_t Jury::against_meeting(const Witness& waits, const Witness& holds) const {
  if (!judge_.objects || (waits.to_object == holds.from_object && waits.to_object != ObjectId::kNone)) return 0;
  // A future or a reply happens once, then there is another: what was answered there was asked for by the same path through the code.
  if ((holds.flags & Witness::kWindow) != 0 && waits.wait == holds.start && waits.wait != StackId::kNone) return 0;
  // What no other thread can reach nobody else waits for, or holds.
  const auto is_private = [&](ObjectId id) {
    return (arena_.at<Object>(id).flags.load(std::memory_order_relaxed) & (Object::kOnStack | Object::kForeign)) == Object::kOnStack;
  };
  const bool is_shared = !is_private(waits.to_object) && !is_private(holds.from_object);
  return Refutation::kOtherObjects | (is_shared ? 0u : uint32_t{Refutation::kOthersNotShared});
}

bool Jury::weigh(const Hop* hops, unsigned count, Verdict* verdict) {
  hops_ = hops;
  count_ = count;
  steps_ = 0;
  best_cost_ = ~0u;
  best_ = verdict;
  if (count == 0 || count > kHops) return false;
  choose(0, 0);
  return best_cost_ != ~0u;
}

// Depth first, with the branch cut where it cannot become better than the best so far. True: enough.
bool Jury::choose(unsigned hop, uint32_t refutations) {
  if (hop == count_) {
    refutations |= against_meeting(*chosen_[count_ - 1], *chosen_[0]);
    const unsigned cost = cost_of(refutations);
    if (cost >= best_cost_) return false;
    best_cost_ = cost;
    best_->refutations = refutations;
    best_->level = level_of(refutations);
    best_->count = count_;
    for (unsigned i = 0; i < count_; ++i) best_->hops[i] = {hops_[i].edge, ids_[i]};
    return cost == 0;
  }
  const bool is_fixed = hops_[hop].witness != WitnessId::kNone;
  WitnessId id = is_fixed ? hops_[hop].witness
                          : WitnessId(arena_.at<Edge>(hops_[hop].edge).first_witness.load(std::memory_order_acquire));
  while (id != WitnessId::kNone) {
    if (++steps_ > kMaxSteps) {
      if (steps_ == kMaxSteps + 1) arena_.count(Counter::kSearchGivenUp);
      return true;
    }
    const Witness& witness = arena_.at<Witness>(id);
    if (!is_void(witness)) {
      uint32_t all = refutations | against(witness);
      if (hop > 0) all |= against_meeting(*chosen_[hop - 1], witness);
      for (unsigned i = 0; i < hop && cost_of(all) < best_cost_; ++i) all |= against_both(*chosen_[i], witness);
      if (cost_of(all) < best_cost_) {
        chosen_[hop] = &witness;
        ids_[hop] = id;
        if (choose(hop + 1, all)) return true;
      }
    }
    if (is_fixed) break;
    id = witness.next;
  }
  return false;
}

}  // namespace causeway::dept
